"""Publishes models in the TUF repository: artifacts first, then the role that lists them, snapshot, timestamp last.

A row of the database holds the version and the signing time before anything is written, so that a redo after a crash
writes identical bytes. A vehicle sees either the old timestamp or the new one, and everything that the new one refers
to is there before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import CanonicalJSONSerializer

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from rollout_controller import queries, transactions
from rollout_controller.metadata import (
    MODELS_ROLE,
    models_role,
    sign_models_role,
    snapshot_and_timestamp,
)
from rollout_controller.metrics import TRUST_EXPIRES_IN_SECONDS
from rollout_controller.model import ListedFile
from rollout_controller.ports import CosignatureRefusedError, Cosigner, PeerUnavailableError
from rollout_controller.trust import TrustFolder

log = get_logger(__name__)
REPOSITORY = "tuf/models"


class DigestMismatchError(Exception):
    """A model's files are not those that passed the examination."""


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
        self._trust = TrustFolder(trust_dir)
        self._fleet_id = fleet_id
        self._clock = clock
        self._published_targets = 0

    def _address(self, name: str) -> str:
        return f"{self._fleet_id}/{REPOSITORY}/{name}"

    def read(self, name: str) -> bytes:
        """A metadata file. Raises ObjectMissingError."""
        content = self._trust.read("models", name)
        if content is not None:
            return content
        return self._objects.get(self._address(name))

    def target(self, path: str) -> bytes:
        """An artifact by its target path. Raises ObjectMissingError."""
        return self._objects.get(self._address(f"targets/{path}"))

    def check_trust(self) -> None:
        """Raises FileNotFoundError if the ceremony's files are missing."""
        for _ in self._trust.expiries():
            pass

    def set_gauges(self) -> None:
        """Show in the metrics how long the offline-signed metadata is valid."""
        now_s = self._clock.now_utc_ns() / 1e9
        for repository, role, expires_s in self._trust.expiries():
            TRUST_EXPIRES_IN_SECONDS.labels(repository, role).set(expires_s - now_s)

    def _keys_changed(self, targets: int) -> bool:
        """True when the newest publication has a former key, or refers to former top-level targets."""
        try:
            timestamp = Metadata[Timestamp].from_bytes(self._objects.get(self._address("timestamp.json")))
            number = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_bytes(self._objects.get(self._address(f"{number}.snapshot.json")))
        except ObjectMissingError:
            return False
        is_ours = self._signer.public_key.keyid in timestamp.signatures
        return not is_ours or snapshot.signed.meta["targets.json"].version != targets

    async def publish_pending(self) -> bool:
        """Publish models that are registered and not yet listed, and renew signatures; True when it did something.

        Raises PeerUnavailableError while the orchestrator, whose signature it needs, does not answer.
        """
        now_ns = self._clock.now_utc_ns()
        self.set_gauges()
        targets_version, targets = self._trust.newest("models", "targets")
        delegations = Metadata[Targets].from_bytes(targets).signed.delegations
        delegated = {} if delegations is None else delegations.keys
        if self._signer.public_key.keyid not in delegated:
            log.error("signing_key_replaced", remedy="restart with the key that the newest targets.json names")
            return False
        changed = targets_version != self._published_targets and await asyncio.to_thread(
            self._keys_changed, targets_version
        )
        if not await self._database.read(lambda tx: queries.has_to_publish(tx, now_ns, changed)):
            return False
        publication = await self._database.run(lambda tx: transactions.begin_publication(tx, now_ns, changed))
        if publication is None:
            return False
        number, signed_at_ns = publication.number, publication.signed_at_utc_ns
        files: list[ListedFile] = []
        for digest in publication.digests:
            try:
                files += await self._list_files(digest)
            except (DigestMismatchError, ObjectMissingError) as error:
                await self._refuse(number, [digest], str(error))
                return True
        role = models_role(files, number, signed_at_ns)
        signed = CanonicalJSONSerializer().serialize(role.signed)
        cosignature = publication.cosignature
        if cosignature is None or cosignature[0] not in delegated:
            try:
                cosignature = await self._cosigner.sign(signed)
            except CosignatureRefusedError as error:
                await self._refuse(number, publication.digests, str(error))
                return True
            if cosignature[0] not in delegated:
                raise PeerUnavailableError("training_orchestrator signs with a key that was replaced: restart it")
            await self._database.run(lambda tx: transactions.store_cosignature(tx, number, cosignature))
        sign_models_role(role, self._signer, cosignature)
        snapshot, timestamp = snapshot_and_timestamp(
            {"targets.json": targets_version, f"{MODELS_ROLE}.json": number}, number, signed_at_ns, self._signer
        )
        for name, content in (
            (f"{number}.{MODELS_ROLE}.json", role.to_bytes()),
            (f"{number}.snapshot.json", snapshot),
            ("timestamp.json", timestamp),
        ):
            await asyncio.to_thread(self._objects.put, self._address(name), content)
        await self._finish(number, files)
        self._published_targets = targets_version
        log.info("models_published", version=number, models=len(publication.digests))
        return True

    async def _refuse(self, number: int, digests: Sequence[str], reason: str) -> None:
        """Roll back models that cannot be listed, so that they block no other model and no renewal of signatures."""
        log.error("model_refused", models=digests, reason=reason)
        now_ns = self._clock.now_utc_ns()
        await self._database.run(lambda tx: transactions.refuse(tx, number, digests, reason, now_ns))

    async def _list_files(self, digest: str) -> list[ListedFile]:
        """Copy a model's artifacts to their target paths, check them against its digest, and list them."""
        listed = await self._database.read(lambda tx: queries.listed_files(tx, digest))
        if listed:
            return listed
        source = await self._database.read(lambda tx: queries.artifact_address(tx, digest))
        contents = await asyncio.to_thread(
            lambda: {name: self._objects.get(f"{source}/{name}") for name in VEHICLE_FILES}
        )
        hashes = {name: sha256_hex(content) for name, content in contents.items()}
        if artifact_digest(hashes) != digest:
            raise DigestMismatchError(
                f"the files at {source} are not model {digest}: they were changed after the examination"
            )
        for name, content in contents.items():
            path = f"models/{digest}/{name}"
            directory, _, file = path.rpartition("/")
            address = self._address(f"targets/{directory}/{hashes[name]}.{file}")
            await asyncio.to_thread(self._objects.put_once, address, content)
            listed.append(ListedFile(path, len(content), hashes[name]))
        return listed

    async def _finish(self, number: int, files: Sequence[ListedFile]) -> None:
        await self._database.run(lambda tx: transactions.finish_publication(tx, number, files))
