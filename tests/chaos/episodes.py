"""One episode: load, a nemesis, recovery, and then the oracle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import gauges
from tests.chaos.findings import Fault, Finding
from tests.chaos.history import Recorder
from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import BoundExceededError, Nemesis
from tests.chaos.nemeses.registry import NEMESES
from tests.chaos.observed import Observed
from tests.chaos.oracle import counts, judge, late_or_lost
from tests.chaos.reading import StageReader, write_observed
from tests.chaos.report import EpisodeResult
from tests.chaos.schedule import Act, Episode
from tests.chaos.system import System


@dataclass(frozen=True, slots=True)
class Limits:
    """The times of an episode, seconds."""

    calm_s: float = 4.0
    """Load without a nemesis, before the first one and after each, in which no service may read an old event."""
    after_s: float = 4.0
    """Load after the recovery."""
    holds_within_s: float = 60.0
    """All invariants hold within this time after the end of the last nemesis."""
    gives_up_after_s: float = 180.0
    """What has not arrived by then counts as lost."""
    poll_s: float = 1.0


class Stage:
    """A running system with its load, its history and its oracle."""

    def __init__(
        self, system: System, load: Load, recorder: Recorder, limits: Limits, say: Callable[[str], None]
    ) -> None:
        self._system = system
        self._load = load
        self._recorder = recorder
        self._limits = limits
        self._say = say
        self._reader = StageReader(system, recorder.history)
        self._began_s = time.monotonic()
        self._failures_seen = 0
        self._ages = gauges.Ages()

    async def play(self, episode: Episode) -> EpisodeResult:
        """Play one episode to its end."""
        findings: list[Finding] = []
        if not self._load.driving.is_set():
            findings += await self._calm("before the first nemesis")
        problems = await asyncio.gather(*(self._act(act) for act in episode.acts))
        findings += [problem for found in problems for problem in found]
        ended_s = time.monotonic()
        recovery_s = await self._recover(ended_s)
        self._say(f"  recovered after {_seconds(recovery_s)}")
        if recovery_s is None:
            late = ", ".join(await asyncio.to_thread(self._system.not_ready)) or "a vehicle gets no acknowledgement"
            findings.append(Finding("recovery", Fault.STUCK, late))
        await asyncio.sleep(self._limits.after_s)
        self._load.rest()
        settled_s, found, seen = await self._settle(ended_s)
        compared = counts(self._recorder.history, seen)
        findings += found + await self._calm("in calm load after the nemesis") + self._senders()
        if findings:
            path = self._recorder.path.with_name(f"observed-{episode.number}.json")
            await asyncio.to_thread(write_observed, path, seen)
        self._say(
            f"  settled after {_seconds(settled_s)}: " + ", ".join(f"{n} {what}" for what, n in compared.items())
        )
        for each in findings[:20]:
            self._say(f"    {each}")
        return EpisodeResult(
            name=episode.name,
            seed=episode.acts[0].seed,
            acts=tuple(act.nemesis for act in episode.acts),
            findings=tuple(findings),
            recovery_s=recovery_s,
            settled_s=settled_s,
            history=str(self._recorder.path),
            compared=compared,
        )

    async def _act(self, act: Act) -> list[Finding]:
        """Let one nemesis work from its beginning to its end. One that fails is a finding, not the end of the run."""
        await asyncio.sleep(act.after_s)
        nemesis: Nemesis = NEMESES[act.nemesis].make(act.nemesis, act.seed)
        started_s = time.monotonic() - self._began_s
        findings, detail = [], ""
        try:
            detail = await nemesis.start(self._system, self._load)
            self._say(f"  {detail}")
        except TimeoutError as error:
            findings.append(Finding(act.nemesis, Fault.STUCK, str(error) or "time-out"))
        except BoundExceededError as error:
            findings.append(Finding(act.nemesis, Fault.STUCK, str(error)))
        finally:
            await nemesis.stop(self._system, self._load)
        self._recorder.add(
            "nemesis", name=act.nemesis, seed=act.seed, started_s=started_s,
            stopped_s=time.monotonic() - self._began_s, recovered_s=None, detail=detail,
        )  # fmt: skip
        return findings

    async def _recover(self, ended_s: float) -> float | None:
        """Wait until every process is ready and a new batch of every vehicle is acknowledged. Returns the seconds."""
        sequences = self._load.sequences()
        while time.monotonic() - ended_s < self._limits.holds_within_s:
            ready = not await asyncio.to_thread(self._system.not_ready)
            if ready and self._load.acknowledged_by_all_since(sequences):
                return time.monotonic() - ended_s
            await asyncio.sleep(0.25)
        return None

    async def _calm(self, when: str) -> list[Finding]:
        """Let the vehicles drive, and find what was read too late meanwhile."""
        self._ages.note(await asyncio.to_thread(gauges.scrape, self._system))
        self._load.drive()
        await asyncio.sleep(self._limits.calm_s)
        return gauges.findings_of(self._ages.note(await asyncio.to_thread(gauges.scrape, self._system)), when)

    async def _settle(self, ended_s: float) -> tuple[float | None, list[Finding], Observed]:
        """Wait until all invariants hold. Returns when, or None with what does not hold."""
        at_limit: list[Finding] | None = None
        old: list[Finding] = []
        while True:
            seen = await self._reader.read(compute=False)
            texts = await asyncio.to_thread(gauges.scrape, self._system)
            findings = judge(self._recorder.history, seen) + gauges.check_lag(texts)
            waited_s = time.monotonic() - ended_s
            read_late = self._ages.note(texts)
            if at_limit is not None:
                old += gauges.findings_of(read_late, f"{waited_s:.0f} s after the nemesis")
            # The last check takes seconds, so it comes when everything else is in order, or will not be any more.
            if not findings or waited_s > self._limits.gives_up_after_s:
                seen = await self._reader.read(compute=True)
                findings += judge(self._recorder.history, seen)
                findings = sorted(set(findings))
                waited_s = time.monotonic() - ended_s
            if not findings:
                return (waited_s, [], seen) if at_limit is None else (None, late_or_lost(at_limit, []) + old, seen)
            if at_limit is None and waited_s > self._limits.holds_within_s:
                at_limit = findings
                self._say(f"  not in order after {waited_s:.0f} s: {len(findings)} findings, such as {findings[0]}")
            if waited_s > self._limits.gives_up_after_s:
                return None, late_or_lost(at_limit or [], findings) + old, seen
            await asyncio.sleep(self._limits.poll_s)

    def _senders(self) -> list[Finding]:
        new = self._load.failures[self._failures_seen :]
        self._failures_seen += len(new)
        return [Finding("sender", Fault.STUCK, each) for each in new]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def history_path(folder: Path, generation: int) -> Path:
    """Where the history of a run's n-th system is."""
    return folder / f"system-{generation}" / "history.jsonl"
