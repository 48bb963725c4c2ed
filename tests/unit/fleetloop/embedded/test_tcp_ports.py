"""Ports: free, distinct, outside the range for outgoing connections, and the same in the next run."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from fleetloop.embedded.tcp_ports import FIRST, LAST, free_ports, is_free, remembered_ports


def test_ports_are_distinct_free_and_low() -> None:
    ports = free_ports(40, random.Random(1))
    assert len(set(ports)) == 40
    assert all(FIRST <= port < LAST and is_free(port) for port in ports)


def test_a_port_in_use_is_not_handed_out() -> None:
    chosen = free_ports(1, random.Random(2))[0]
    with socket.socket() as server:
        server.bind(("127.0.0.1", chosen))
        server.listen()
        assert not is_free(chosen)
        assert free_ports(1, random.Random(2))[0] != chosen


def test_addresses_stay_from_run_to_run_unless_somebody_took_them(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = remembered_ports(path, ("a", "b"), random.Random(3))
    assert remembered_ports(path, ("b", "a"), random.Random(4)) == first
    with socket.socket() as server:
        server.bind(("127.0.0.1", first["a"]))
        server.listen()
        second = remembered_ports(path, ("a", "b", "c"), random.Random(5))
    assert second["b"] == first["b"]
    assert second["a"] != first["a"]
    assert len(set(second.values())) == 3


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[1")
    assert set(remembered_ports(tmp_path / "ports.json", ("a",), random.Random(6))) == {"a"}
