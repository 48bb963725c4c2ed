"""Every contract of `.importlinter` can fail: each import that it forbids breaks it.

The graph of all imports is built once. For each contract a copy of it gets one forbidden import at a time, and
import-linter has to report the contract as broken. A contract that cannot fail, because a module was renamed or an
exception allows too much, fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.application import use_cases
from importlinter.application.user_options import UserOptions
from importlinter.configuration import configure
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract, registry

ROOT = Path(__file__).parents[2]
configure()


def read_options() -> UserOptions:
    options = use_cases.read_user_options(config_filename=str(ROOT / ".importlinter"))
    for name, kind in (
        ("forbidden", ForbiddenContract),
        ("independence", IndependenceContract),
        ("layers", LayersContract),
    ):
        registry.register(kind, name)
    return options


OPTIONS = read_options()
CONTRACTS = {options["id"]: options for options in OPTIONS.contracts_options}


def contract_of(contract_id: str) -> Contract:
    options = CONTRACTS[contract_id]
    contract: Contract = registry.get_contract_class(options["type"])(
        name=options["name"], session_options=OPTIONS.session_options, contract_options=options
    )
    return contract


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *OPTIONS.session_options["root_packages"],
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def is_kept(contract_id: str, graph: grimp.ImportGraph) -> bool:
    return contract_of(contract_id).check(deepcopy(graph), verbose=False).kept


def with_import(graph: grimp.ImportGraph, importer: str, imported: str) -> grimp.ImportGraph:
    """A copy of the graph with one import more."""
    copy = deepcopy(graph)
    if imported not in copy.modules:
        copy.add_module(imported, is_squashed=True)
    copy.add_import(importer=importer, imported=imported)
    return copy


def forbidden_imports(options: dict[str, Any], graph: grimp.ImportGraph) -> Iterator[tuple[str, str]]:
    """Imports that a contract forbids: every module that it names is in one of them."""
    if options["type"] == "independence":
        modules = options["modules"]
        yield from zip(modules, [*modules[1:], modules[0]], strict=True)
    elif options["type"] == "forbidden":
        sources, forbidden = options["source_modules"], options["forbidden_modules"]
        yield from ((source, forbidden[0]) for source in sources)
        yield from ((sources[0], module) for module in forbidden)
    else:
        for container in options.get("containers", [""]):
            layers = [_modules(layer, container, graph) for layer in options["layers"]]
            present = [layer for layer in layers if layer]
            for higher, lower in pairwise(present):
                yield from ((low, high) for high in higher for low in lower)
            for layer, text in zip(layers, options["layers"], strict=True):
                if "|" in text:
                    yield from zip(layer, [*layer[1:], layer[0]], strict=True)


def _modules(layer: str, container: str, graph: grimp.ImportGraph) -> list[str]:
    """The modules of a layer that exist; those in brackets are optional."""
    names = [name.strip(" ()") for name in layer.replace("|", ":").split(":")]
    full = [f"{container}.{name}" if container else name for name in names]
    return [name for name in full if name in graph.modules]


@pytest.mark.parametrize("contract_id", CONTRACTS)
def test_a_contract_is_kept_and_every_forbidden_import_breaks_it(contract_id: str, graph: grimp.ImportGraph) -> None:
    assert is_kept(contract_id, graph)
    tried = 0
    for importer, imported in forbidden_imports(CONTRACTS[contract_id], graph):
        broken = with_import(graph, importer, imported)
        assert not is_kept(contract_id, broken), f"{importer} may import {imported}"
        tried += 1
    assert tried


HELD = {
    "grpc-in-services": ("core", "model", "codec", "store", "queries", "transactions", "worker", "stream"),
    "sql-in-services": ("core", "model", "codec", "worker", "stream", "rpc", "peers", "__main__"),
    "protobuf-in-services": ("store", "queries", "transactions", "worker", "settings", "metrics"),
    "kafka-in-services": (
        "core",
        "model",
        "codec",
        "store",
        "queries",
        "transactions",
        "worker",
        "peers",
        "__main__",
    ),
}
"""Contract -> rooms that it holds in every service that has them."""


@pytest.mark.parametrize("contract_id", HELD)
def test_a_contract_holds_each_room_of_each_service(contract_id: str, graph: grimp.ImportGraph) -> None:
    options = CONTRACTS[contract_id]
    held = [f"{service}.{room}" for service in options["source_modules"] for room in HELD[contract_id]]
    present = [module for module in held if module in graph.modules]
    assert present
    for importer, imported in product(present, options["forbidden_modules"]):
        broken = with_import(graph, importer, imported)
        assert not is_kept(contract_id, broken), f"{importer} may import {imported}"


DATABASE_SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/migrations"))


@pytest.mark.parametrize("service", DATABASE_SERVICES)
@pytest.mark.parametrize("room", ["core", "model", "stream", "worker"])
def test_a_service_with_a_database_decides_without_protobuf(
    service: str, room: str, graph: grimp.ImportGraph
) -> None:
    """Services without a database have exceptions here; those with one have none."""
    broken = with_import(graph, f"{service}.{room}", "fleetloop.protos.label.v1.label_pb2")
    assert not is_kept("protobuf-in-services", broken)


def packages() -> list[str]:
    """Every package and module on the first floor of services and of fleetloop."""
    services = [path.parent.name for path in (ROOT / "services").glob("*/__init__.py")]
    library = ROOT / "libraries" / "fleetloop"
    floors = [path.parent.name for path in library.glob("*/__init__.py")]
    return sorted(services) + sorted(f"fleetloop.{name}" for name in floors if name != "protos")


@pytest.mark.parametrize("package", packages())
def test_every_package_is_named_in_a_contract(package: str) -> None:
    keys = ("modules", "source_modules", "containers", "layers")
    named = {
        name.strip(" ()")
        for options in CONTRACTS.values()
        for key in keys
        for entry in options.get(key, [])
        for name in entry.replace("|", ":").split(":")
    }
    assert package in named


@pytest.mark.parametrize("service", sorted(path.parent.name for path in (ROOT / "services").glob("*/core.py")))
def test_every_core_is_held_pure(service: str) -> None:
    exempt = {"fleet_console"}  # its core shows protobuf answers, which the protobuf contract names with the reason
    if service not in exempt:
        assert {f"{service}.core", f"{service}.model"} <= set(CONTRACTS["cores-are-pure"]["source_modules"])


@pytest.mark.parametrize("service", DATABASE_SERVICES)
def test_every_service_with_a_database_has_the_same_rooms(service: str) -> None:
    assert service in CONTRACTS["rooms-of-services-with-a-database"]["containers"]


def test_every_exception_says_why() -> None:
    """Lines that name a module, not a room, have a reason in a comment above them or above their group."""
    lines = (ROOT / ".importlinter").read_text().splitlines()
    for index, line in enumerate(lines):
        if " -> " in line and not line.strip().startswith(("*", "#", "fleetloop.")):
            above = index
            while " -> " in lines[above]:
                above -= 1
            assert lines[above].strip().startswith("#"), line
