"""A vehicle takes what was signed for it and nothing else: the rollout's own metadata, attacked in every way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import CanonicalJSONSerializer
from tuf.ngclient.fetcher import FetcherInterface

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.embedded.ceremony import hold_ceremony
from fleetloop.kit.security.signing import load_key
from rollout_controller.metadata import (
    MODELS_ROLE,
    assignment_bytes,
    director_files,
    models_role,
    sign_models_role,
    snapshot_and_timestamp,
)
from rollout_controller.model import Assignment as Signed
from rollout_controller.model import Cohort, ListedFile
from vehicle_agent.model import ModelRefusedError
from vehicle_agent.updater import ModelCache, ModelUpdater, UnreachableError

NOW = datetime.now(UTC)
NOW_NS = int(NOW.timestamp()) * 10**9


class Repositories:
    """Both repositories as files by name, served as the rollout serves them, until somebody alters them."""

    def __init__(self, folder: Path) -> None:
        trust = hold_ceremony(folder / "signing", NOW)
        self.trust = trust.folder
        self.rollout, self.orchestrator = load_key(trust.rollout_key), load_key(trust.orchestrator_key)
        self.files: dict[tuple[str, str], bytes] = {}
        self.fetched: list[str] = []
        for name in ("1.root.json", "1.targets.json"):
            self.files["models", f"metadata/{name}"] = (trust.folder / "models" / name).read_bytes()
        self.contents: dict[str, bytes] = {}
        self.published = 0
        self.away = False

    def add_model(self, salt: bytes) -> str:
        contents = {name: name.encode() + salt for name in VEHICLE_FILES}
        digest = artifact_digest({name: sha256_hex(content) for name, content in contents.items()})
        self.contents |= {f"models/{digest}/{name}": content for name, content in contents.items()}
        self.publish()
        return digest

    def publish(self, cosigner: CryptoSigner | None = None, version: int | None = None) -> None:
        self.published = version or self.published + 1
        number = self.published
        listed = [ListedFile(path, len(content), sha256_hex(content)) for path, content in self.contents.items()]
        role = models_role(listed, number, NOW_NS)
        signature = (cosigner or self.orchestrator).sign(CanonicalJSONSerializer().serialize(role.signed))
        sign_models_role(role, self.rollout, (signature.keyid, bytes.fromhex(signature.signature)))
        names = {"targets.json": 1, f"{MODELS_ROLE}.json": number}
        snapshot, timestamp = snapshot_and_timestamp(names, number, NOW_NS, self.rollout)
        self._put("models", f"{number}.{MODELS_ROLE}.json", role.to_bytes())
        self._put("models", f"{number}.snapshot.json", snapshot)
        self._put("models", "timestamp.json", timestamp)
        for path, content in self.contents.items():
            folder, _, name = path.rpartition("/")
            self.files["models", f"targets/{folder}/{sha256_hex(content)}.{name}"] = content

    def assign(self, vehicle: str, active: str, version: int, to: str = "") -> None:
        signed = Signed(active, "", "r1", Cohort.CANARY)
        for name, content in director_files(to or vehicle, signed, version, NOW_NS, self.rollout).items():
            self._put("director", name, content)
        content = assignment_bytes(to or vehicle, signed, version)
        self.files["director", f"targets/{sha256_hex(content)}.assignment.json"] = content

    def _put(self, repository: str, name: str, content: bytes) -> None:
        self.files[repository, f"metadata/{name}"] = content

    def fetcher(self, repository: str) -> FetcherInterface:
        served = self

        class Served(FetcherInterface):  # type: ignore[misc,unused-ignore]
            def _fetch(self, url: str) -> Iterator[bytes]:
                if served.away:
                    raise OSError("no network")
                served.fetched.append(url)
                if (repository, url) not in served.files:
                    raise DownloadHTTPError(url, 404)
                return iter([served.files[repository, url]])

        return Served()


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    return Repositories(tmp_path)


def updater(repositories: Repositories, folder: Path, vehicle: str = "car") -> ModelUpdater:
    store = ModelCache(folder / "store")
    return ModelUpdater(vehicle, repositories.trust, folder / vehicle, store, repositories.fetcher)


def test_a_vehicle_gets_what_it_is_assigned_and_a_second_one_checks_without_fetching(
    repositories: Repositories, tmp_path: Path
) -> None:
    digest = repositories.add_model(b"1")
    repositories.assign("car", digest, 1)
    first = updater(repositories, tmp_path)
    assignment = first.assignment()
    assert (assignment.active, assignment.cohort, assignment.rollout_id, assignment.version) == (
        digest,
        "canary",
        "r1",
        1,
    )
    folder = first.model(digest)
    hashes = {name: sha256_hex((folder / name).read_bytes()) for name in VEHICLE_FILES}
    assert artifact_digest(hashes) == digest
    repositories.fetched.clear()
    assert updater(repositories, tmp_path, "other").model(digest) == folder
    assert not any(url.startswith("targets/") for url in repositories.fetched)


def test_a_new_assignment_is_followed_also_back_to_an_older_model(repositories: Repositories, tmp_path: Path) -> None:
    old, new = repositories.add_model(b"1"), repositories.add_model(b"2")
    for version, digest in enumerate((old, new, old), 1):
        repositories.assign("car", digest, version)
        mine = updater(repositories, tmp_path)
        assert mine.assignment().active == digest
        assert mine.model(digest).name == digest


def test_altered_bytes_are_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    for key in [key for key in repositories.files if key[1].endswith("head.onnx")]:
        repositories.files[key] = b"H" + repositories.files[key][1:]
    with pytest.raises(ModelRefusedError, match="cannot be trusted"):
        updater(repositories, tmp_path).model(digest)
    assert not (tmp_path / "store" / digest).exists()


def test_longer_bytes_are_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    for key in [key for key in repositories.files if key[1].endswith("card.json")]:
        repositories.files[key] += b" "
    with pytest.raises(ModelRefusedError, match="longer than was signed"):
        updater(repositories, tmp_path).model(digest)


def test_files_that_were_altered_on_the_vehicles_own_disk_are_fetched_again(
    repositories: Repositories, tmp_path: Path
) -> None:
    digest = repositories.add_model(b"1")
    mine = updater(repositories, tmp_path)
    path = mine.model(digest) / "head.onnx"
    good = path.read_bytes()
    path.write_bytes(b"H" + good[1:])
    assert mine.model(digest) / "head.onnx" == path
    assert path.read_bytes() == good


def test_one_of_two_signatures_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    key = ("models", "metadata/1.models.json")
    for left_out in (repositories.orchestrator, repositories.rollout):
        role = json.loads(repositories.files[key])
        role["signatures"] = [s for s in role["signatures"] if s["keyid"] != left_out.public_key.keyid]
        assert len(role["signatures"]) == 1
        repositories.files[key] = json.dumps(role).encode()
        with pytest.raises(ModelRefusedError, match="signed by 1/2 keys"):
            updater(repositories, tmp_path / left_out.public_key.keyid[:8]).model(digest)
        repositories.publish(version=1)


def test_two_signatures_of_the_rollout_alone_are_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    repositories.publish(cosigner=repositories.rollout)
    with pytest.raises(ModelRefusedError, match="signed by 1/2 keys"):
        updater(repositories, tmp_path).model(digest)


def test_a_rollback_of_the_metadata_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    old = repositories.add_model(b"1")
    repositories.assign("car", old, 1)
    before = dict(repositories.files)
    new = repositories.add_model(b"2")
    repositories.assign("car", new, 2)
    mine = updater(repositories, tmp_path)
    assert mine.assignment().active == new
    mine.model(new)
    repositories.files = before
    with pytest.raises(ModelRefusedError, match="version"):
        mine.assignment()
    with pytest.raises(ModelRefusedError, match="version"):
        mine.model(old)


def test_another_vehicles_assignment_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    repositories.assign("car", repositories.add_model(b"1"), 1, to="truck")
    with pytest.raises(ModelRefusedError, match="is for 'truck'"):
        updater(repositories, tmp_path).assignment()


def test_a_model_that_is_not_listed_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    repositories.add_model(b"1")
    with pytest.raises(ModelRefusedError, match="not listed in signed metadata"):
        updater(repositories, tmp_path).model("c" * 64)


def test_listed_files_that_are_another_model_are_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    wrong = "d" * 64
    repositories.contents = {path.replace(digest, wrong): content for path, content in repositories.contents.items()}
    repositories.publish()
    with pytest.raises(ModelRefusedError, match=f"have the digest {digest}"):
        updater(repositories, tmp_path).model(wrong)


def test_expired_metadata_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    digest = repositories.add_model(b"1")
    timestamp = Metadata.from_bytes(repositories.files["models", "metadata/timestamp.json"])
    timestamp.signed.expires = NOW.replace(microsecond=0, year=NOW.year - 1)
    timestamp.sign(repositories.rollout)
    repositories.files["models", "metadata/timestamp.json"] = timestamp.to_bytes()
    with pytest.raises(ModelRefusedError, match="expired"):
        updater(repositories, tmp_path).model(digest)


def test_silence_is_no_refusal(repositories: Repositories, tmp_path: Path) -> None:
    repositories.away = True
    with pytest.raises(UnreachableError):
        updater(repositories, tmp_path).assignment()


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"signed": {}, "signatures": []}'])
def test_a_damaged_file_of_the_vehicles_own_state_stops_no_update(
    repositories: Repositories, tmp_path: Path, damage: bytes
) -> None:
    """Each file in turn."""
    digest = repositories.add_model(b"1")
    repositories.assign("car", digest, 1)
    first = updater(repositories, tmp_path)
    assert first.model(first.assignment().active).is_dir()
    files = [path for path in sorted((tmp_path / "car").rglob("*")) if path.is_file() and not path.is_symlink()]
    assert len(files) > 5
    for path in files:
        path.write_bytes(damage)
        again = updater(repositories, tmp_path)
        assert again.model(again.assignment().active).name == digest, path


def test_models_that_no_vehicle_keeps_are_deleted_from_the_disk(repositories: Repositories, tmp_path: Path) -> None:
    mine = updater(repositories, tmp_path)
    mine.prune([])
    digests = [repositories.add_model(b"%d" % number) for number in range(6)]
    for age, digest in enumerate(reversed(digests)):
        os.utime(mine.model(digest), ns=(0, 10**9 * (100 - age)))
    (tmp_path / "store" / f".{'a' * 64}.draft").mkdir()
    os.utime(tmp_path / "store" / f".{'a' * 64}.draft", ns=(0, 0))
    mine.prune([digests[0]])
    assert {path.name for path in (tmp_path / "store").iterdir()} == {digests[0], *digests[-2:]}
