"""A real identity provider for tests: Keycloak's own distribution, with one realm, two groups and three people.

It is taken from the local Maven repository; `mvn dependency:get -Dtransitive=false
-Dartifact=org.keycloak:keycloak-quarkus-dist:26.4.0:zip` puts it there (160 MB). Without it the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

VERSION = "26.4.0"
ARCHIVE = (
    Path.home() / f".m2/repository/org/keycloak/keycloak-quarkus-dist/{VERSION}/keycloak-quarkus-dist-{VERSION}.zip"
)
CLIENT, SECRET, PASSWORD = "fleet-console", "a-secret-of-the-console", "a password of keycloak"
GROUPS = {"labelling-team": ["labeller"], "fleet-operators": ["operator"]}
_READY_S = 300.0
_JAVA = "-Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"


@dataclass(frozen=True, slots=True)
class Keycloak:
    """A running provider."""

    issuer: str

    def settings(self, origin: str) -> dict[str, str]:
        """The console's variables."""
        return {
            "FLEETLOOP_PAGE_ORIGIN": origin,
            "FLEETLOOP_OIDC_ISSUER": self.issuer,
            "FLEETLOOP_OIDC_CLIENT_ID": CLIENT,
            "FLEETLOOP_OIDC_CLIENT_SECRET": SECRET,
            "FLEETLOOP_OIDC_GROUPS": json.dumps(GROUPS),
        }


@contextmanager
def keycloak(folder: Path) -> Iterator[Keycloak]:
    """Run Keycloak while the block lasts."""
    java = shutil.which("java")
    if not ARCHIVE.exists() or java is None:
        pytest.skip(f"no Keycloak here: {ARCHIVE.name} is not in the local Maven repository, or Java is missing")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    home = folder / f"keycloak-{VERSION}"
    (home / "data/import").mkdir(parents=True)
    (home / "data/import/fleet-realm.json").write_text(json.dumps(_realm()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["sh", str(home / "bin/kc.sh"), "start-dev", "--import-realm", "--http-host=127.0.0.1"]
    with (folder / "keycloak.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--http-port={port}"], stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "JAVA_OPTS": _JAVA, "KC_HTTP_MANAGEMENT_PORT": "0"},
        )  # fmt: skip
    try:
        issuer = f"http://127.0.0.1:{port}/realms/fleet"
        _wait(issuer, process, folder / "keycloak.log")
        yield Keycloak(issuer)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(issuer: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"Keycloak ended: {log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"Keycloak is not ready after {_READY_S} s: {log.read_text()[-2000:]}")


def _realm() -> dict[str, object]:
    mapper = {
        "name": "groups",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-group-membership-mapper",
        "config": {
            "claim.name": "groups",
            "full.path": "false",
            "id.token.claim": "true",
            "access.token.claim": "true",
        },
    }
    client = {
        "clientId": CLIENT,
        "secret": SECRET,
        "redirectUris": ["http://127.0.0.1:*/login/callback", "http://127.0.0.1/*", "http://localhost/*"],
        "attributes": {"pkce.code.challenge.method": "S256", "post.logout.redirect.uris": "+"},
        "standardFlowEnabled": True,
        "publicClient": False,
        "protocolMappers": [mapper],
    }
    people = {"ann": ["labelling-team"], "ola": ["fleet-operators", "labelling-team"], "ben": []}
    users = [
        {
            "username": name, "enabled": True, "groups": groups, "email": f"{name}@example.org", "firstName": name,
            "lastName": "Lee", "credentials": [{"type": "password", "value": PASSWORD}],
        }
        for name, groups in people.items()
    ]  # fmt: skip
    groups = [{"name": name} for name in GROUPS]
    return {"realm": "fleet", "enabled": True, "sslRequired": "none", "clients": [client], "users": users} | {
        "groups": groups
    }
