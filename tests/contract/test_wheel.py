"""What `pip install fleetloop` adds to an environment: one top-level package, with stubs and configuration."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _wheel(project: Path, folder: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(project)], check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def _top_level(wheel: zipfile.ZipFile) -> set[str]:
    return {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return _wheel(ROOT, tmp_path_factory.mktemp("published"))


def test_the_published_wheel_has_one_top_level_package(published: zipfile.ZipFile) -> None:
    assert _top_level(published) == {"fleetloop"}


def test_the_published_wheel_has_stubs_topics_and_configuration(published: zipfile.ZipFile) -> None:
    names = set(published.namelist())
    assert "fleetloop/py.typed" in names
    assert "fleetloop/protos/telemetry/v1/telemetry_pb2.py" in names
    assert "fleetloop/protos/telemetry/v1/telemetry_pb2_grpc.pyi" in names
    assert "fleetloop/data/topics.yaml" in names
    assert "fleetloop/data/config/signals.yaml" in names
    assert "fleetloop/embedded/broker/pom.xml" in names


def test_the_published_wheel_imports_where_nothing_else_of_the_project_is(
    published: zipfile.ZipFile, tmp_path: Path
) -> None:
    published.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path[:] = [p for p in sys.path if p not in sys.argv[2:]]\n"
        "import fleetloop\n"
        "assert fleetloop.__file__.startswith(sys.argv[1]), fleetloop.__file__\n"
        "for name in fleetloop.__all__: getattr(fleetloop, name)\n"
        "from fleetloop.protos.telemetry.v1 import telemetry_pb2\n"
        "assert telemetry_pb2.TelemetryBatch.DESCRIPTOR.full_name == 'fleet.telemetry.v1.TelemetryBatch'\n"
        "import fleetloop.cli\n"
    )
    hidden = [str(ROOT / "libraries"), str(ROOT / "services")]
    subprocess.run([sys.executable, "-c", program, str(tmp_path), *hidden], check=True, cwd=tmp_path)


def test_the_services_wheel_has_every_service_and_nothing_of_the_published_one(tmp_path: Path) -> None:
    services = {each.parent.name for each in (ROOT / "services").glob("*/__init__.py")}
    assert _top_level(_wheel(ROOT / "services", tmp_path)) == services


def test_both_distributions_have_one_version() -> None:
    root, services = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (ROOT, ROOT / "services")
    )
    assert root["version"] == services["version"]
    assert services["dependencies"] == [f"fleetloop[embedded]=={root['version']}"]
