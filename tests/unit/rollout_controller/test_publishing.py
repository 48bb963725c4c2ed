from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.embedded.ceremony import Trust, hold_ceremony
from fleetloop.embedded.trust_renewal import renew_trust, rotate_keys
from fleetloop.kit.security.signing import load_key
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import queries, transactions
from rollout_controller.codec import passed_run
from rollout_controller.core import RESIGN_AFTER_S
from rollout_controller.metadata import director_files
from rollout_controller.metrics import TRUST_EXPIRES_IN_SECONDS
from rollout_controller.model import Assignment, Cohort, Stage
from rollout_controller.ports import CosignatureRefusedError, PeerUnavailableError
from rollout_controller.publishing import Publisher
from rollout_controller.store import Base
from rollout_controller.trust import TrustFolder


class Orchestrator:
    """Co-signs with the real key; `asked` counts."""

    def __init__(self, trust: Trust) -> None:
        self._signer = load_key(trust.orchestrator_key)
        self.asked = 0
        self.away = False
        self.refuses = False

    async def sign(self, signed: bytes) -> tuple[str, bytes]:
        if self.away:
            raise ConnectionError("away")
        if self.refuses:
            raise CosignatureRefusedError("it did not pass here")
        self.asked += 1
        signature = self._signer.sign(signed)
        return signature.keyid, bytes.fromhex(signature.signature)


class Repository:
    def __init__(self, folder: Path, url: str) -> None:
        self.trust = hold_ceremony(folder / "signing", datetime.now(UTC))
        self.database = Database(url, Base)
        Base.metadata.create_all(self.database.engine)
        self.objects = Objects((folder / "objects").as_uri())
        self.clock = ManualClock()
        self.orchestrator = Orchestrator(self.trust)
        self.publisher = Publisher(
            self.database, self.objects, load_key(self.trust.rollout_key), self.orchestrator, self.trust.folder,
            "demo", self.clock,
        )  # fmt: skip
        self.publisher.check_trust()

    def register(self, salt: str, digest: str = "") -> str:
        contents = {name: f"{salt} {name}".encode() for name in VEHICLE_FILES}
        digest = digest or artifact_digest({name: sha256_hex(content) for name, content in contents.items()})
        for name, content in contents.items():
            self.objects.put_once(f"demo/models/{salt}/{name}", content)
        run = training_pb2.RunChanged(model_digest=digest, artifact_address=f"demo/models/{salt}")
        self.database.run_now(lambda tx: transactions.register(tx, passed_run(run), self.clock.now_utc_ns()))
        return digest


@pytest.fixture
def repository(tmp_path: Path, database_url: str) -> Iterator[Repository]:
    repository = Repository(tmp_path, database_url)
    yield repository
    repository.database.close()


async def test_a_published_model_verifies_from_the_root_down(repository: Repository) -> None:
    digest = repository.register("one")
    assert await repository.publisher.publish_pending()
    assert not await repository.publisher.publish_pending()
    read = repository.publisher.read
    root = Metadata[Root].from_bytes(read("1.root.json")).signed
    timestamp = Metadata[Timestamp].from_bytes(read("timestamp.json"))
    root.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
    snapshot_raw = read("1.snapshot.json")
    timestamp.signed.snapshot_meta.verify_length_and_hashes(snapshot_raw)
    snapshot = Metadata[Snapshot].from_bytes(snapshot_raw)
    root.verify_delegate("snapshot", snapshot.signed_bytes, snapshot.signatures)
    targets = Metadata[Targets].from_bytes(read("1.targets.json"))
    root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    models = Metadata[Targets].from_bytes(read("1.models.json"))
    targets.signed.verify_delegate("models", models.signed_bytes, models.signatures)
    assert set(models.signed.targets) == {f"models/{digest}/{name}" for name in VEHICLE_FILES}
    for path, entry in models.signed.targets.items():
        folder, _, name = path.rpartition("/")
        entry.verify_length_and_hashes(repository.publisher.target(f"{folder}/{entry.hashes['sha256']}.{name}"))


async def test_one_signature_of_two_is_not_enough(repository: Repository) -> None:
    repository.register("one")
    await repository.publisher.publish_pending()
    targets = Metadata[Targets].from_bytes(repository.publisher.read("1.targets.json"))
    models = Metadata[Targets].from_bytes(repository.publisher.read("1.models.json"))
    for keyid in list(models.signatures):
        one = {keyid: models.signatures[keyid]}
        with pytest.raises(Exception, match="was signed by 1/2 keys"):
            targets.signed.verify_delegate("models", models.signed_bytes, one)


async def test_dying_before_the_end_and_doing_it_again_writes_the_same_bytes(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.register("one")
    names = ("1.models.json", "1.snapshot.json", "timestamp.json")
    monkeypatch.setattr(repository.publisher, "_finish", _die)
    with pytest.raises(SystemError):
        await repository.publisher.publish_pending()
    first = [repository.publisher.read(name) for name in names]
    monkeypatch.undo()
    repository.clock.advance(3600)
    assert await repository.publisher.publish_pending()
    assert [repository.publisher.read(name) for name in names] == first
    assert repository.orchestrator.asked == 1


def _die(*_: object) -> None:
    raise SystemError("killed")


async def test_while_the_orchestrator_is_away_nothing_is_published(repository: Repository) -> None:
    repository.register("one")
    repository.orchestrator.away = True
    with pytest.raises(ConnectionError):
        await repository.publisher.publish_pending()
    assert not repository.objects.exists("demo/tuf/models/timestamp.json")
    repository.orchestrator.away = False
    assert await repository.publisher.publish_pending()


async def test_a_model_whose_files_changed_is_rolled_back_and_blocks_no_other(repository: Repository) -> None:
    bad = repository.register("one", digest="0" * 64)
    good = repository.register("two")
    assert await repository.publisher.publish_pending()  # rolls the bad one back
    assert await repository.publisher.publish_pending()  # lists the good one
    assert not await repository.publisher.publish_pending()
    models = Metadata[Targets].from_bytes(repository.publisher.read("1.models.json")).signed
    assert {path.split("/")[1] for path in models.targets} == {good}
    changes = repository.database.run_now(lambda tx: queries.changes_after(tx, 0))
    (rolled_back,) = [c for c in changes if c.stage == Stage.ROLLED_BACK]
    assert rolled_back.model_digest == bad
    assert "changed after the examination" in rolled_back.reasons[0]


async def test_a_model_that_the_orchestrator_does_not_sign_is_rolled_back(repository: Repository) -> None:
    good = repository.register("one")
    await repository.publisher.publish_pending()
    repository.register("two")
    repository.orchestrator.refuses = True
    assert await repository.publisher.publish_pending()
    repository.orchestrator.refuses = False
    assert not await repository.publisher.publish_pending()  # nothing is left to list
    stages = {
        change.model_digest: change.stage
        for change in repository.database.run_now(lambda tx: queries.changes_after(tx, 0))
    }
    assert stages[good] == Stage.REGISTERED
    assert Stage.ROLLED_BACK in stages.values()


async def test_metadata_that_grows_old_is_signed_again(repository: Repository) -> None:
    repository.register("one")
    await repository.publisher.publish_pending()
    before = Metadata[Timestamp].from_bytes(repository.publisher.read("timestamp.json")).signed
    repository.clock.advance(RESIGN_AFTER_S + 1)
    assert await repository.publisher.publish_pending()
    after = Metadata[Timestamp].from_bytes(repository.publisher.read("timestamp.json")).signed
    assert after.version == before.version + 1
    assert after.expires > before.expires


def test_a_directors_files_depend_only_on_the_assignment(repository: Repository) -> None:
    signer = load_key(repository.trust.rollout_key)
    assignment = Assignment("a" * 64, "", "r", Cohort.CONTROL)
    first = director_files("car", assignment, 3, 10**18, signer)
    assert first == director_files("car", assignment, 3, 10**18, signer)
    assert first != director_files("other", assignment, 3, 10**18, signer)
    assert set(first) == {"3.targets.json", "3.snapshot.json", "timestamp.json"}


async def test_a_renewal_of_the_trust_is_published_without_a_restart(repository: Repository) -> None:
    repository.register("one")
    assert await repository.publisher.publish_pending()
    assert not await repository.publisher.publish_pending()
    renew_trust(repository.trust.folder.parent, datetime.now(UTC))
    assert await repository.publisher.publish_pending()
    assert Metadata[Root].from_bytes(repository.publisher.read("2.root.json")).signed.version == 2
    snapshot = Metadata[Snapshot].from_bytes(repository.publisher.read("2.snapshot.json")).signed
    assert snapshot.meta["targets.json"].version == 2
    assert not await repository.publisher.publish_pending()


async def test_nothing_is_published_with_a_key_that_was_replaced(repository: Repository) -> None:
    repository.register("one")
    await repository.publisher.publish_pending()
    rotate_keys(repository.trust.folder.parent, "models", datetime.now(UTC))
    with pytest.raises(PeerUnavailableError, match="signs with a key that was replaced"):
        await repository.publisher.publish_pending()
    rotate_keys(repository.trust.folder.parent, "director", datetime.now(UTC))
    assert not await repository.publisher.publish_pending()
    assert Metadata[Timestamp].from_bytes(repository.publisher.read("timestamp.json")).signed.version == 1


def test_the_gauge_says_how_long_offline_signed_metadata_is_valid(repository: Repository) -> None:
    repository.publisher.set_gauges()
    now_s = repository.clock.now_utc_ns() / 1e9
    expiries = {each[:2]: each[2] for each in TrustFolder(repository.trust.folder).expiries()}
    assert set(expiries) == {("models", "root"), ("models", "targets"), ("director", "root")}
    for labels, expires_s in expiries.items():
        assert TRUST_EXPIRES_IN_SECONDS.labels(*labels)._value.get() == pytest.approx(expires_s - now_s)
