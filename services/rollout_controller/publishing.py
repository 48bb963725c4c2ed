"""Publishes models into the TUF repository: artifacts, then the role that lists them, snapshot, timestamp last.

An intent row holds the versions and the signing time, so that a redo after a crash writes identical bytes. A
vehicle sees either the old timestamp or the new one, and everything that the new one leads to is there before it.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner
from tuf.api.serialization.json import CanonicalJSONSerializer

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND, Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import transactions
from rollout_controller.metadata import (
    MODELS_ROLE,
    ListedFile,
    models_role,
    sign_models_role,
    snapshot_and_timestamp,
)
from rollout_controller.model import Stage
from rollout_controller.store import ModelRow, PublicationRow

log = get_logger(__name__)
REPOSITORY = "tuf/models"
RESIGN_AFTER_S = 86_400
"""What time alone makes stale is signed anew long before it expires."""


class Cosigner(Protocol):
    """The orchestrator's key, behind its own check of what passed."""

    async def sign(self, signed: bytes) -> tuple[str, bytes]:
        """(key id, signature) over canonical bytes."""
        ...


class CosignatureRefusedError(Exception):
    """The orchestrator does not vouch for a model that is not listed yet."""


class DigestMismatchError(Exception):
    """A model's files are not the ones that passed the examination."""


class Publisher:
    """The models repository of one fleet."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        signer: CryptoSigner,
        cosigner: Cosigner,
        trust_dir: Path,
        fleet_id: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._objects = objects
        self._signer = signer
        self._cosigner = cosigner
        self._trust_dir = trust_dir
        self._fleet_id = fleet_id
        self._clock = clock

    def _address(self, name: str) -> str:
        return f"{self._fleet_id}/{REPOSITORY}/{name}"

    def read(self, name: str) -> bytes:
        """A metadata file. Raises ObjectMissingError."""
        return self._objects.get(self._address(name))

    def target(self, path: str) -> bytes:
        """An artifact by its target path. Raises ObjectMissingError."""
        return self._objects.get(self._address(f"targets/{path}"))

    def install_trust(self) -> None:
        """Puts the offline-signed root and targets where updaters find them."""
        for name in ("1.root.json", "1.targets.json"):
            self._objects.put_once(self._address(name), (self._trust_dir / "models" / name).read_bytes())

    async def publish_pending(self) -> bool:
        """Publishes models that are registered and not yet listed; True when it did something."""
        if not await self._database.read(self._has_work):
            return False
        intent = await self._database.run(self._intend)
        if intent is None:
            return False
        number, signed_at_ns, digests, cosignature = intent
        files: list[ListedFile] = []
        for digest in digests:
            try:
                files += await self._list_files(digest)
            except (DigestMismatchError, ObjectMissingError) as error:
                await self._refuse(number, [digest], str(error))
                return True
        role = models_role(files, number, signed_at_ns)
        signed = CanonicalJSONSerializer().serialize(role.signed)
        if cosignature is None:
            try:
                cosignature = await self._cosigner.sign(signed)
            except CosignatureRefusedError as error:
                await self._refuse(number, digests, str(error))
                return True
            await self._database.run(lambda tx: self._keep_cosignature(tx, number, cosignature))
        sign_models_role(role, self._signer, cosignature)
        snapshot, timestamp = snapshot_and_timestamp(
            {"targets.json": 1, f"{MODELS_ROLE}.json": number}, number, signed_at_ns, self._signer
        )
        for name, content in (
            (f"{number}.{MODELS_ROLE}.json", role.to_bytes()),
            (f"{number}.snapshot.json", snapshot),
            ("timestamp.json", timestamp),
        ):
            await asyncio.to_thread(self._objects.put, self._address(name), content)
        await self._database.run(lambda tx: self._finish(tx, number, files))
        log.info("models_published", version=number, models=len(digests))
        return True

    @staticmethod
    def _last(tx: Transaction) -> PublicationRow | None:
        return tx.session.scalars(sa.select(PublicationRow).order_by(PublicationRow.number.desc()).limit(1)).first()

    def _is_stale(self, last: PublicationRow | None) -> bool:
        if last is None:
            return False
        return self._clock.now_utc_ns() - last.signed_at_utc_ns > RESIGN_AFTER_S * NANOSECONDS_PER_SECOND

    def _has_work(self, tx: Transaction) -> bool:
        last = self._last(tx)
        if last is not None and (not last.done or self._is_stale(last)):
            return True
        unlisted = sa.exists().where(~ModelRow.published, ModelRow.stage != Stage.ROLLED_BACK.value)
        return bool(tx.session.scalar(sa.select(unlisted)))

    def _intend(self, tx: Transaction) -> tuple[int, int, list[str], tuple[str, bytes] | None] | None:
        last = self._last(tx)
        if last is not None and not last.done:
            cosignature = (last.cosigner, last.cosignature) if last.cosigner else None
            return last.number, last.signed_at_utc_ns, json.loads(last.digests), cosignature
        known = tx.session.scalars(sa.select(ModelRow).order_by(ModelRow.number)).all()
        rows = [row for row in known if row.published or row.stage != Stage.ROLLED_BACK.value]
        now_ns = self._clock.now_utc_ns()
        if all(row.published for row in rows) and not self._is_stale(last):
            return None
        number = last.number + 1 if last else 1
        digests = [row.digest for row in rows]
        tx.session.add(
            PublicationRow(
                number=number, signed_at_utc_ns=now_ns, digests=json.dumps(digests), cosigner="", cosignature=b"",
                done=False,
            )
        )  # fmt: skip
        return number, now_ns, digests, None

    async def _refuse(self, number: int, digests: list[str], reason: str) -> None:
        """Takes back models that cannot be listed, so that they hold up no other and no renewal of signatures."""
        log.error("model_refused", models=digests, reason=reason)
        now_ns = self._clock.now_utc_ns()
        await self._database.run(lambda tx: transactions.refuse(tx, number, digests, reason, now_ns))

    async def _list_files(self, digest: str) -> list[ListedFile]:
        """Copies a model's artifacts to their target paths, checked against its digest, and lists them."""
        listed, run = await self._database.read(lambda tx: self._known_files(tx, digest))
        if listed:
            return listed
        contents = await asyncio.to_thread(
            lambda: {name: self._objects.get(f"{run.artifact_address}/{name}") for name in VEHICLE_FILES}
        )
        hashes = {name: sha256_hex(content) for name, content in contents.items()}
        if artifact_digest(hashes) != digest:
            raise DigestMismatchError(
                f"the files at {run.artifact_address} are not model {digest}: they were changed after the examination"
            )
        for name, content in contents.items():
            path = f"models/{digest}/{name}"
            directory, _, file = path.rpartition("/")
            address = self._address(f"targets/{directory}/{hashes[name]}.{file}")
            await asyncio.to_thread(self._objects.put_once, address, content)
            listed.append(ListedFile(path, len(content), hashes[name]))
        return listed

    @staticmethod
    def _known_files(tx: Transaction, digest: str) -> tuple[list[ListedFile], training_pb2.RunChanged]:
        row = tx.session.get_one(ModelRow, digest)
        return [ListedFile(*file) for file in json.loads(row.files)], training_pb2.RunChanged.FromString(row.run)

    @staticmethod
    def _keep_cosignature(tx: Transaction, number: int, cosignature: tuple[str, bytes]) -> None:
        row = tx.session.get_one(PublicationRow, number)
        row.cosigner, row.cosignature = cosignature

    @staticmethod
    def _finish(tx: Transaction, number: int, files: list[ListedFile]) -> None:
        publication = tx.session.get_one(PublicationRow, number)
        publication.done = True
        for digest in json.loads(publication.digests):
            row = tx.session.get_one(ModelRow, digest)
            row.published = True
            mine = [f for f in files if f.path.startswith(f"models/{digest}/")]
            row.files = json.dumps([[f.path, f.size_bytes, f.sha256] for f in mine])
