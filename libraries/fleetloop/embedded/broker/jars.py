"""Find Java and Kafka's jars. Maven fetches the jars once per machine into a cache that all checkouts share."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fleetloop.errors import UserError

KAFKA_VERSION = "4.2.0"
LEAST_JAVA = 17
_POM = Path(__file__).with_name("pom.xml")
_FETCH_WITHIN_S = 900


def find_java(environ: Mapping[str, str]) -> Path | None:
    """Return JAVA_HOME's java or the one on the PATH, if it is new enough, otherwise None."""
    candidates = []
    if environ.get("JAVA_HOME"):
        candidates.append(Path(environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path:
        candidates.append(Path(on_path))
    for java in candidates:
        if java_version(java) >= LEAST_JAVA:
            return java
    return None


def java_version(java: Path) -> int:
    """Return the major version, or 0 if this Java does not run."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return parse_java_version(said)


def parse_java_version(said: str) -> int:
    """Return the major version in the output of `java -version` ("1.8.0" is 8), or 0 if there is none."""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else 0


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return FLEETLOOP_CACHE_DIR, or `fleetloop` in the user's cache folder."""
    if environ.get("FLEETLOOP_CACHE_DIR"):
        return Path(environ["FLEETLOOP_CACHE_DIR"]).expanduser()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fleetloop"


def cached_jars(environ: Mapping[str, str]) -> Path | None:
    """Return the folder with Kafka's jars, or None before they are fetched. One rename makes the folder appear."""
    folder = cache_folder(environ) / f"kafka-{KAFKA_VERSION}"
    return folder if folder.is_dir() else None


def ensure_jars(environ: Mapping[str, str]) -> Path:
    """Return the folder with Kafka's jars, fetching them with Maven if needed. Concurrent callers wait.

    Raises UserError if Maven is missing or fails.
    """
    cache = cache_folder(environ)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{KAFKA_VERSION}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = cached_jars(environ)
        if found is not None:
            return found
        maven = shutil.which("mvn", path=environ.get("PATH"))
        if maven is None:
            raise UserError("Kafka's jars are missing, and so is Maven, which fetches them.", "Install Maven (mvn).")
        folder = cache / f"kafka-{KAFKA_VERSION}"
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as draft:
            _fetch(maven, Path(draft) / "jars", environ)
            (Path(draft) / "jars").replace(folder)
        return folder


def _fetch(maven: str, target: Path, environ: Mapping[str, str]) -> None:
    command = [
        maven, "--batch-mode", "--quiet", "--strict-checksums", "-Dstyle.color=never", "--file", str(_POM),
        "dependency:copy-dependencies", f"-DoutputDirectory={target}", "-DincludeScope=runtime",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=dict(environ), timeout=_FETCH_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"Maven did not fetch Kafka's jars within {_FETCH_WITHIN_S} s.", "Check the network and try again."
        ) from error
    if done.returncode != 0 or not any(target.glob(f"kafka_*-{KAFKA_VERSION}.jar")):
        said = (done.stdout + done.stderr).strip().splitlines()
        raise UserError(
            f"Maven could not fetch Kafka's jars: {said[0] if said else f'exit code {done.returncode}'}",
            f"Check the network and Maven's settings, or see Maven's output with: {' '.join(command)}",
        )
