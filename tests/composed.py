"""The parts of a service as its composition root builds them, without Kafka and without the network."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from sqlalchemy.orm import DeclarativeBase

from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage.database import Database


class _Runtime:
    """Starts no background work."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.stopping = asyncio.Event()

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        work.close()

    def on_stop(self, cleanup: object) -> None:
        pass


class _Server:
    """Listens to nothing."""

    def __init__(self, *_: object) -> None:
        self.stop = None

    async def start(self, services: object) -> None:
        pass


def config_with_second_person(folder: Path) -> Path:
    """A copy of the configuration that needs a second person for everything."""
    config = Path(copytree("config", folder / "config"))
    content = yaml.safe_load((config / "access.yaml").read_text())
    content["second_person"] = dict.fromkeys(content["second_person"], True)
    (config / "access.yaml").write_text(yaml.safe_dump(content))
    return config


async def composed(
    package: str, settings: ServiceSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """The servicers that the service's composition root adds to its server, over an empty database in `folder`."""
    root: Any = importlib.import_module(f"{package}.__main__")
    added: list[Any] = []

    class _Storage:
        def __init__(self, base: type[DeclarativeBase]) -> None:
            self.database = Database(f"sqlite:///{folder / package}.db", base)
            base.metadata.create_all(self.database.engine)

    async def storage(runtime: object, settings: object, base: type[DeclarativeBase], migrations: object) -> _Storage:
        return _Storage(base)

    monkeypatch.setattr(root, "open_storage", storage)
    monkeypatch.setattr(root, "start_storage_tasks", lambda *_: None)
    monkeypatch.setattr(root, "RpcServer", _Server)
    monkeypatch.setattr(root, "add_to", lambda server, *services: added.extend(services))
    runtime = _Runtime(package)
    await root.start(runtime, settings)
    return added
