"""Generate the gRPC and protobuf stubs from protos/, as a command and as a hatch build hook.

Stubs are built, never committed. `protos/fleet/telemetry/v1/telemetry.proto` becomes
`fleetloop.protos.telemetry.v1.telemetry_pb2`: protoc takes Python's package from the path, which would be a top-level
package `fleet` in the environment of every user, so its import lines are rewritten. Names on the wire keep their
`fleet.` package. Nothing is done when every stub is newer than every proto.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "libraries" / "fleetloop" / "protos"
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_IMPORT = re.compile(r"\bfrom fleet\.([a-z]+)\.v1 import\b")
_MODULE = re.compile(r"\bfleet\.([a-z]+)\.v1\.([a-z]+_pb2)\b")


def stubs_of(proto: Path) -> list[Path]:
    """Return the files that are generated from one proto."""
    folder = STUBS / proto.parent.relative_to(PROTOS / "fleet")
    return [folder / (proto.stem + suffix) for suffix in STUB_SUFFIXES]


def is_current(sources: list[Path]) -> bool:
    """Return whether every stub exists and is no older than the newest proto."""
    newest = max(path.stat().st_mtime for path in [*sources, Path(__file__)])
    stubs = [stub for source in sources for stub in stubs_of(source)]
    return all(stub.exists() and stub.stat().st_mtime >= newest for stub in stubs)


def relocated(stub: str) -> str:
    """Return a stub's text with its imports of other stubs changed to `fleetloop.protos`.

    Only modules end with `_pb2`, so that the names of services and messages on the wire stay as they are.
    """
    return _MODULE.sub(r"fleetloop.protos.\1.v1.\2", _IMPORT.sub(r"from fleetloop.protos.\1.v1 import", stub))


def build(force: bool = False) -> int:
    """Generate all stubs and return how many protos were compiled, 0 when they were current.

    Raises SystemExit with protoc's message when a proto does not compile.
    """
    from grpc_tools import protoc

    sources = sorted(PROTOS.glob("fleet/**/*.proto"))
    if not force and is_current(sources):
        return 0
    include = Path(protoc.__file__).parent / "_proto"
    scripts = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as out:
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"-I{include}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *(str(source) for source in sources),
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc refused a proto; its message is above")
        shutil.rmtree(STUBS, ignore_errors=True)
        generated = Path(out) / "fleet"
        for stub in sorted(generated.rglob("*_pb2*")):
            target = STUBS / stub.relative_to(generated)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(relocated(stub.read_text()))
        for folder in (STUBS, *(each for each in STUBS.rglob("*") if each.is_dir())):
            (folder / "__init__.py").touch()
    return len(sources)


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a plain script where hatchling is not installed
    pass
else:

    class StubsHook(BuildHookInterface):  # type: ignore[type-arg,unused-ignore]
        """Adds the stubs to `pip install -e .` and to wheels."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            build()


if __name__ == "__main__":
    compiled = build(force="--force" in sys.argv)
    print(f"stubs: {compiled} protos compiled" if compiled else "stubs: current")
