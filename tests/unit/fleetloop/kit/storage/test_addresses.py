from __future__ import annotations

import os.path
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.storage.addresses import is_own_object, is_own_table
from fleetloop.kit.storage.objects import ForeignAddressError, Objects

NAMES = st.sampled_from(
    ["demo", "other", "clips", "..", ".", "", "a b", "x.mcap", "s3:", "~", "%2e%2e", "\0", "\\..", "partition=0", "ü"]
)
ADDRESSES = st.one_of(st.lists(NAMES, max_size=6).map("/".join), st.text(max_size=40))
FOREIGN = [
    "/etc/passwd",
    "file:///etc/passwd",
    "s3://elsewhere/demo/clips/x",
    "other/models/x",
    "demo",
    "demo/",
    "demo/../other/x",
    "demo/./x",
    "demo//x",
    "../demo/x",
    "demo/x\n",
    "demo/%2e%2e/x/..",
    "demo/" + "x" * 256,
    "",
]


@given(ADDRESSES)
def test_an_own_address_lies_below_the_fleet_and_is_its_own_normal_form(address: str) -> None:
    if is_own_object("demo", address):
        normal = os.path.normpath(f"/root/{address}")
        assert normal == f"/root/{address}"
        assert normal.startswith("/root/demo/")
        assert ":" not in address and "%" not in address and address.isprintable()


@given(st.lists(st.sampled_from(["clips", "2026-11-28", "a.mcap", "partition=0", "x_y", "1.root.json"]), min_size=1))
def test_addresses_that_we_make_are_own(names: list[str]) -> None:
    assert is_own_object("demo", "/".join(["demo", *names]))


@pytest.mark.parametrize("address", FOREIGN)
def test_a_foreign_address_is_never_read(tmp_path: Path, address: str) -> None:
    objects = Objects(tmp_path.as_uri(), "demo")
    with pytest.raises(ForeignAddressError):
        objects.get(address)
    with pytest.raises(ForeignAddressError):
        objects.fetch(address, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_an_object_of_another_fleet_is_not_read_even_if_it_exists(tmp_path: Path) -> None:
    Objects(tmp_path.as_uri()).put_once("other/models/x", b"theirs")
    Objects(tmp_path.as_uri()).put_once("demo/models/x", b"ours")
    objects = Objects(tmp_path.as_uri(), "demo")
    assert objects.get("demo/models/x") == b"ours"
    with pytest.raises(ForeignAddressError):
        objects.get("other/models/x")


@given(ADDRESSES)
def test_the_only_table_of_a_dataset_is_its_own(address: str) -> None:
    for root in ("file:///objects/demo/datasets", "s3://bucket/demo/datasets", "/objects/demo/datasets/"):
        assert is_own_table(root, "town", address) == (
            address == f"{root.removeprefix('file://').rstrip('/')}/town.lance"
        )
    assert not is_own_table("/objects", address, f"/objects/{address}.lance") or "/" not in address
    assert is_own_table("s3://bucket/demo/datasets", "town", "s3://bucket/demo/datasets/town.lance")
