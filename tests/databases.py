"""The databases that tests of tables run on: SQLite, and a private Postgres where its programs are installed.

The server listens on a socket in a folder of its own and nowhere else, keeps nothing, and is gone after the run. Each
test has a schema of its own in it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

_SCHEMAS = count()
# The user without rights that every Linux has.
_OVERFLOW_UID = 65_534
_QUICK = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB"


def program(name: str) -> str | None:
    """Path of one of Postgres' programs; Debian keeps the newest of each version out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(versions[0]) if versions else shutil.which(name)


def server_user() -> str | None:
    """The user that the server runs as, because it refuses root: Debian's postgres, or the overflow user."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else pwd.getpwuid(_OVERFLOW_UID).pw_name


@pytest.fixture(scope="session")
def postgres(postgres_if_installed: str | None) -> str:
    """SQLAlchemy URL of a server that only this test run uses."""
    if postgres_if_installed is None:
        pytest.skip("Postgres' programs are not installed: apt-get install postgresql (initdb, pg_ctl)")
    return postgres_if_installed


@pytest.fixture(scope="session")
def postgres_if_installed() -> Iterator[str | None]:
    """The same, or None where Postgres' programs are missing."""
    initdb, server = program("initdb"), program("pg_ctl")
    if initdb is None or server is None:
        yield None
        return
    user = server_user()
    with tempfile.TemporaryDirectory(prefix="fleetloop-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def run(*command: str) -> None:
            done = subprocess.run(
                command, user=user, cwd=folder, capture_output=True, text=True, check=False, timeout=60,
                extra_groups=[] if user else None, start_new_session=True,
            )  # fmt: skip
            assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

        data, log = str(folder / "data"), str(folder / "log")
        run(initdb, "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses='' -k {folder} {_QUICK}"
        run(server, "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tests@/postgres?host={folder}"
        finally:
            run(server, "-D", data, "-m", "immediate", "-w", "stop")


def new_database(url: str, name: str) -> str:
    """URL of an empty database of its own on the server: components share none."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f'create database "{name}"'))
    finally:
        engine.dispose()
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database; a test that takes it runs on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    url: str = request.getfixturevalue("postgres")
    schema = f"test_{os.getpid()}_{next(_SCHEMAS)}"
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
        yield f"{url}&options=-csearch_path%3D{schema}"
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(schema, cascade=True))
    finally:
        engine.dispose()
