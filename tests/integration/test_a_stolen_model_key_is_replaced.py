"""The drill: an online key is stolen and replaced, the thief is refused, and vehicles that were away recover.

The vehicle's real updater reads real files, which the real metadata code and `fleetloop trust` wrote.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.vehicle_agent.test_updater import NOW, NOW_NS, Repositories, updater
from tuf.api.metadata import Metadata, Root, Targets

from fleetloop.embedded import trust_renewal
from fleetloop.embedded.ceremony import LIFE, hold_ceremony
from fleetloop.embedded.trust_renewal import complete_renewal, renew_trust, rotate_keys
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.security.signing import load_key
from rollout_controller.metadata import MODELS_ROLE, models_role, sign_models_role, snapshot_and_timestamp
from rollout_controller.model import ListedFile
from rollout_controller.trust import TrustFolder
from vehicle_agent.model import ModelRefusedError


class Fleet:
    """Both repositories, served from the trust folder, and vehicles that were provisioned with version 1."""

    def __init__(self, folder: Path, began: datetime = NOW) -> None:
        self.signing = folder / "signing"
        hold_ceremony(self.signing, began)
        self.served = Repositories(folder)
        self.served.trust = Path(shutil.copytree(self.signing / "trust", folder / "provisioned"))
        self.folder = folder
        self.digest = self.served.add_model(b"1")
        self.publish()

    def publish(self) -> None:
        """Serve every offline-signed file, and sign the rest with the online keys of now, as the services do."""
        served, trust = self.served, TrustFolder(self.signing / "trust")
        online = self.signing / "online"
        served.rollout, served.orchestrator = load_key(online / "rollout.pem"), load_key(online / "orchestrator.pem")
        for path in (self.signing / "trust").glob("*/*.json"):
            served.files[path.parent.name, f"metadata/{path.name}"] = path.read_bytes()
        served.publish()
        number = served.published
        names = {"targets.json": trust.newest("models", "targets")[0], f"{MODELS_ROLE}.json": number}
        snapshot, timestamp = snapshot_and_timestamp(names, number, NOW_NS, served.rollout)
        served.files["models", f"metadata/{number}.snapshot.json"] = snapshot
        served.files["models", "metadata/timestamp.json"] = timestamp
        served.assign("car", self.digest, number)

    def update(self, vehicle: str = "vehicle") -> str:
        """Let a vehicle update; its state is in a folder of this name."""
        mine = updater(self.served, self.folder / vehicle, "car")
        return mine.model(mine.assignment().active).name


@pytest.mark.parametrize("role", ["director", "timestamp", "models", "root"])
def test_vehicles_follow_a_rotation_of_every_role(tmp_path: Path, role: str) -> None:
    fleet = Fleet(tmp_path)
    assert fleet.update() == fleet.digest
    rotate_keys(fleet.signing, role, NOW)
    fleet.publish()
    assert fleet.update() == fleet.digest
    assert fleet.update("newly-provisioned") == fleet.digest


@pytest.mark.parametrize(("role", "key"), [("director", "rollout.pem"), ("models", "orchestrator.pem")])
def test_a_thief_is_refused_after_the_rotation(tmp_path: Path, role: str, key: str) -> None:
    fleet = Fleet(tmp_path)
    fleet.update()
    stolen = load_key(fleet.signing / "online" / key)
    rotate_keys(fleet.signing, role, NOW)
    fleet.publish()
    assert fleet.update() == fleet.digest
    honest = dict(fleet.served.files)
    if role == "director":
        fleet.served.rollout = stolen
        fleet.served.assign("car", fleet.digest, 99)
        with pytest.raises(ModelRefusedError, match="timestamp was signed by 0/1 keys"):
            fleet.update()
    else:
        number = fleet.served.published + 1
        listed = [ListedFile(f"models/{'e' * 64}/head.onnx", 1, "f" * 64)]
        forged = models_role(listed, number, NOW_NS)
        signature = stolen.sign(forged.signed_bytes)
        sign_models_role(forged, fleet.served.rollout, (signature.keyid, bytes.fromhex(signature.signature)))
        snapshot, timestamp = snapshot_and_timestamp(
            {"targets.json": 2, f"{MODELS_ROLE}.json": number}, number, NOW_NS, fleet.served.rollout
        )
        fleet.served.files["models", f"metadata/{number}.models.json"] = forged.to_bytes()
        fleet.served.files["models", f"metadata/{number}.snapshot.json"] = snapshot
        fleet.served.files["models", "metadata/timestamp.json"] = timestamp
        with pytest.raises(ModelRefusedError, match="models was signed by 1/2 keys"):
            fleet.update()
    fleet.served.files = honest
    fleet.publish()
    assert fleet.update() == fleet.digest


def test_a_vehicle_that_missed_several_roots_follows_the_chain(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.update()
    for role in ("root", "director", "root", "models"):
        rotate_keys(fleet.signing, role, NOW)
    renew_trust(fleet.signing, NOW)
    fleet.publish()
    fleet.served.fetched.clear()
    assert fleet.update() == fleet.digest
    assert {f"metadata/{number}.root.json" for number in range(2, 7)} <= set(fleet.served.fetched)


def test_a_fleet_whose_root_expired_says_so_and_recovers_by_a_renewal(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, NOW - LIFE - timedelta(days=3))
    with pytest.raises(ModelRefusedError, match=r"root\.json is expired"):
        fleet.update()
    renew_trust(fleet.signing, NOW)
    fleet.publish()
    assert fleet.update() == fleet.digest


def test_a_new_root_needs_two_of_three_keys(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    offline = fleet.signing / "offline"
    (offline / "root-1.pem").unlink()
    assert renew_trust(fleet.signing, NOW).models_root == 2
    (offline / "root-3.pem").unlink()
    with pytest.raises(UserError, match="1 of the 2 earlier root keys are here"):
        renew_trust(fleet.signing, NOW)
    assert TrustFolder(fleet.signing / "trust").newest("models", "root")[0] == 2, "nothing was written"


def test_an_unknown_role_and_a_missing_ceremony_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no role 'snapshot' to rotate"):
        rotate_keys(tmp_path, "snapshot", NOW)
    with pytest.raises(UserError, match=r"no root\.json"):
        renew_trust(tmp_path, NOW)


def test_a_kill_leaves_the_old_trust_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(tmp_path)
    before = {path: path.read_bytes() for path in fleet.signing.rglob("*") if path.is_file()}
    calls, real, kill_at = 0, replace_bytes, 1

    def killed(path: Path, content: bytes, *, mode: int, sync: bool) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise KeyboardInterrupt
        real(path, content, mode=mode, sync=sync)

    monkeypatch.setattr(trust_renewal, "replace_bytes", killed)
    for kill_at in range(1, 9):  # four files, drafted and then put in place
        for path in [path for path in fleet.signing.rglob("*") if path.is_file() and path not in before]:
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)
        calls = 0
        with pytest.raises(KeyboardInterrupt):
            rotate_keys(fleet.signing, "director", NOW)
        calls = 100
        complete_renewal(fleet.signing)
        versions = {Metadata[Root].from_file(str(path)).signed.version
                    for path in (fleet.signing / "trust").glob("*/2.root.json")}  # fmt: skip
        assert versions == (set() if kill_at <= 4 else {2}), kill_at
        root = Metadata[Root].from_bytes(TrustFolder(fleet.signing / "trust").newest("director", "root")[1]).signed
        online = load_key(fleet.signing / "online" / "rollout.pem").public_key.keyid
        assert root.roles["timestamp"].keyids == [online], kill_at


def test_the_rollout_reads_the_trust_of_a_config_map(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    renew_trust(fleet.signing, NOW)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (fleet.signing / "trust").glob("*/*.json"):
        shutil.copy(path, flat / f"{path.parent.name}.{path.name}")
    trust = TrustFolder(flat)
    assert trust.read("models", "2.root.json") == (fleet.signing / "trust/models/2.root.json").read_bytes()
    assert trust.read("models", "../offline/root-1.pem") is trust.read("models", "3.root.json") is None
    number, content = trust.newest("models", "targets")
    assert number == Metadata[Targets].from_bytes(content).signed.version == 2
    expires_s = (NOW.astimezone(UTC) + LIFE).replace(microsecond=0).timestamp()
    assert {each[:2]: each[2] for each in trust.expiries()} == {
        ("models", "root"): expires_s,
        ("models", "targets"): expires_s,
        ("director", "root"): expires_s,
    }
