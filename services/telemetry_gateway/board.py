"""The commands that stand, per vehicle: what a stream that opens now has to be told, and what is new to it.

A stream keeps what it was told and asks the board for the rest. So nothing is queued per stream, and a stream that
is slow holds up nobody and misses nothing but what has meanwhile expired or been repeated.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from telemetry_gateway.model import StandingCommand


class CommandBoard:
    """Unexpired commands by vehicle; of repeats the one with the highest attempt."""

    def __init__(self) -> None:
        self._by_vehicle: dict[str, dict[str, StandingCommand]] = {}

    def put(self, command: StandingCommand, now_utc_ns: int) -> bool:
        """Keeps the command; False when it has expired or is known with this attempt or a higher one."""
        if command.expires_at_utc_ns <= now_utc_ns:
            return False
        commands = self._by_vehicle.setdefault(command.vehicle_id, {})
        known = commands.get(command.command_id)
        if known is not None and known.attempt >= command.attempt:
            return False
        commands[command.command_id] = command
        return True

    def due(self, vehicle_id: str, told: MutableMapping[str, int], now_utc_ns: int) -> tuple[StandingCommand, ...]:
        """What a stream has to be told, oldest first. `told`, command to attempt, is kept here."""
        commands = self._by_vehicle.get(vehicle_id, {})
        for command_id in [known for known in told if known not in commands]:
            del told[command_id]
        due = tuple(
            command
            for command in commands.values()
            if command.expires_at_utc_ns > now_utc_ns and command.attempt > told.get(command.command_id, -1)
        )
        told.update({command.command_id: command.attempt for command in due})
        return due

    def prune(self, now_utc_ns: int) -> None:
        """Forgets what has expired."""
        for vehicle_id, commands in list(self._by_vehicle.items()):
            for command in [each for each in commands.values() if each.expires_at_utc_ns <= now_utc_ns]:
                del commands[command.command_id]
            if not commands:
                del self._by_vehicle[vehicle_id]

    def __len__(self) -> int:
        return sum(map(len, self._by_vehicle.values()))
