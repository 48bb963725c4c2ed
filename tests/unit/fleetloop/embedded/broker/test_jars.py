"""Finding Java, and fetching the jars once however many ask for them."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetloop.embedded.broker.jars import (
    KAFKA_VERSION,
    cache_folder,
    cached_jars,
    ensure_jars,
    find_java,
    parse_java_version,
)
from fleetloop.errors import UserError


@pytest.mark.parametrize(
    "said, version",
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("The operation couldn’t be completed. Unable to locate a Java Runtime.", 0),
    ],
)
def test_java_says_its_version_in_many_ways(said: str, version: int) -> None:
    assert parse_java_version(said) == version


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_old_java_home_does_not_hide_a_newer_java_on_the_path(tmp_path: Path) -> None:
    _program(tmp_path / "old" / "bin", "java", """echo 'openjdk version "11.0.2"' >&2""")
    _program(tmp_path / "new", "java", """echo 'openjdk version "17.0.1"' >&2""")
    environ = {"JAVA_HOME": str(tmp_path / "old"), "PATH": str(tmp_path / "new")}
    assert find_java(environ) == tmp_path / "new" / "java"
    assert find_java({**environ, "PATH": "/nowhere"}) is None


MAVEN = f"""
echo run >> "$COUNT"
for a in "$@"; do case "$a" in -DoutputDirectory=*) out="${{a#*=}}";; esac; done
mkdir -p "$out"; touch "$out/kafka_2.13-{KAFKA_VERSION}.jar"
"""


def _environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FLEETLOOP_CACHE_DIR": str(tmp_path / "cache"),
        "COUNT": str(tmp_path / "count"),
    }


def test_many_that_come_at_once_share_one_fetch(tmp_path: Path) -> None:
    _program(tmp_path / "bin", "mvn", MAVEN)
    environ = _environ(tmp_path)
    assert cached_jars(environ) is None
    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(lambda _: ensure_jars(environ), range(6)))
    assert folders == {tmp_path / "cache" / f"kafka-{KAFKA_VERSION}"}
    assert (tmp_path / "count").read_text() == "run\n"
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        f"kafka-{KAFKA_VERSION}",
        f"kafka-{KAFKA_VERSION}.lock",
    ]


def test_a_maven_that_fails_is_quoted_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    _program(tmp_path / "bin", "mvn", "echo '[ERROR] Unknown host repo.example'; exit 1")
    environ = _environ(tmp_path)
    with pytest.raises(UserError, match=r"Unknown host repo\.example.*dependency:copy-dependencies"):
        ensure_jars(environ)
    assert cached_jars(environ) is None


def test_without_maven_the_remedy_is_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Install Maven"):
        ensure_jars({"PATH": "/nowhere", "FLEETLOOP_CACHE_DIR": str(tmp_path)})


def test_the_cache_follows_the_environment() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/fleetloop")
    assert cache_folder({"FLEETLOOP_CACHE_DIR": "/y", "XDG_CACHE_HOME": "/x"}) == Path("/y")
