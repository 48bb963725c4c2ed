"""Generate the gRPC and protobuf stubs from protos/, as a command and as a hatch build hook.

Stubs are built, never committed. They are written beside the protos, so that `protos/` is a source root and
`from fleet.telemetry.v1 import telemetry_pb2` works. Nothing is done when they are newer than every proto.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def stubs_of(proto: Path) -> list[Path]:
    """The files that protoc writes for one proto."""
    return [proto.with_name(proto.stem + suffix) for suffix in STUB_SUFFIXES]


def is_current(sources: list[Path]) -> bool:
    """True when every stub exists and is no older than the newest proto."""
    newest = max(path.stat().st_mtime for path in sources)
    stubs = [stub for source in sources for stub in stubs_of(source)]
    return all(stub.exists() and stub.stat().st_mtime >= newest for stub in stubs)


def build(force: bool = False) -> int:
    """Generate all stubs; returns how many protos were compiled, 0 when they were current.

    Raises SystemExit with protoc's message when a proto does not compile.
    """
    from grpc_tools import protoc

    sources = sorted(PROTOS.glob("fleet/**/*.proto"))
    if not force and is_current(sources):
        return 0
    for stale in PROTOS.glob("fleet/**/*_pb2*"):
        stale.unlink()
    include = Path(protoc.__file__).parent / "_proto"
    scripts = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"-I{PROTOS}",
        f"-I{include}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={PROTOS}",
        f"--grpc_python_out={PROTOS}",
        f"--mypy_out=quiet:{PROTOS}",
        f"--mypy_grpc_out=quiet:{PROTOS}",
        *(str(source) for source in sources),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused a proto; its message is above")
    return len(sources)


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a plain script where hatchling is not installed
    pass
else:

    class StubsHook(BuildHookInterface):  # type: ignore[type-arg,unused-ignore]
        """Makes `pip install -e .` and wheels carry the stubs."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            build()


if __name__ == "__main__":
    compiled = build(force="--force" in sys.argv)
    print(f"stubs: {compiled} protos compiled" if compiled else "stubs: current")
