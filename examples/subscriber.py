"""A minimal subscriber to new models. After a restart it resumes where it stopped and misses no change.

fleetloop up                       # in one terminal
python examples/subscriber.py      # in another; Ctrl-C ends it
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from fleetloop import RunningFleet, watch_models
from fleetloop.protos.rollout.v1 import rollout_pb2

TOKEN = Path("models.seen")


def read_token() -> int:
    return int(TOKEN.read_text()) if TOKEN.exists() else 0


def keep_token(sequence: int) -> None:
    TOKEN.write_text(str(sequence))


async def main() -> None:
    fleet = RunningFleet.open(".fleetloop")
    address = fleet.address("rollout-controller")
    credentials = fleet.credentials()
    async for change in watch_models(address, credentials, resume_after=read_token()):
        stage = rollout_pb2.ModelStage.Name(change.stage).removeprefix("MODEL_STAGE_").lower()
        print(f"{change.model_version} is {stage}: {'; '.join(change.reasons)} ({change.artifact_address})")
        keep_token(change.sequence)  # after the change was handled, so that a crash repeats it instead of losing it


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
