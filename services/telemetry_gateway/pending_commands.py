"""The commands that have not expired, by vehicle.

Nothing is queued per stream. Each stream remembers which commands it has delivered and asks here for the others, so a
slow stream delays no other stream, and misses only commands that have expired or were repeated in the meantime.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from telemetry_gateway.model import PendingCommand


class PendingCommands:
    """Unexpired commands by vehicle, a limited number of each; of several attempts of one command only the latest."""

    def __init__(self, max_per_vehicle: int) -> None:
        self._max_per_vehicle = max_per_vehicle
        self.dropped = 0
        """Commands that were dropped because their vehicle had too many."""
        self._by_vehicle: dict[str, dict[str, PendingCommand]] = {}

    def put(self, command: PendingCommand, now_utc_ns: int) -> bool:
        """Adds a command. False when it has expired, or when this attempt or a later one is known already."""
        if command.expires_at_utc_ns <= now_utc_ns:
            return False
        commands = self._by_vehicle.setdefault(command.vehicle_id, {})
        known = commands.get(command.command_id)
        if known is not None and known.attempt >= command.attempt:
            return False
        commands[command.command_id] = command
        if len(commands) > self._max_per_vehicle:
            del commands[next(iter(commands))]
            self.dropped += 1
        return True

    def due(
        self, vehicle_id: str, delivered: MutableMapping[str, int], now_utc_ns: int
    ) -> tuple[PendingCommand, ...]:
        """The commands that a stream has not delivered yet, oldest first.

        `delivered` maps command ids to attempts and belongs to the stream; this method updates it.
        """
        commands = self._by_vehicle.get(vehicle_id, {})
        for command_id in [known for known in delivered if known not in commands]:
            del delivered[command_id]
        due = tuple(
            command
            for command in commands.values()
            if command.expires_at_utc_ns > now_utc_ns and command.attempt > delivered.get(command.command_id, -1)
        )
        delivered.update({command.command_id: command.attempt for command in due})
        return due

    def prune(self, now_utc_ns: int) -> None:
        """Deletes commands that have expired."""
        for vehicle_id, commands in list(self._by_vehicle.items()):
            for command in [each for each in commands.values() if each.expires_at_utc_ns <= now_utc_ns]:
                del commands[command.command_id]
            if not commands:
                del self._by_vehicle[vehicle_id]

    def __len__(self) -> int:
        return sum(map(len, self._by_vehicle.values()))
