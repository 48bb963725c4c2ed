"""Every firing has one decision: its clip is wanted, it is routed to a label task, or it is dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.observed import Routed

STAGE = "router"
WANTED, ROUTED, DROPPED = "clip_wanted", "routed", "dropped"


def check(
    fired: Collection[str], decisions: Sequence[Routed], clips: Mapping[str, str], tasks: Mapping[str, str]
) -> list[Finding]:
    """Compare the router's decisions with the firings, clips and label tasks that were announced.

    Args:
        fired: Ids of all firings.
        decisions: Every decision that the router holds.
        clips: Firing -> clip that was acknowledged to the vehicle as stored.
        tasks: Announced label task -> its firing.
    """
    findings = compare(STAGE, fired, [each.firing_id for each in decisions], fired)
    for each in decisions:
        if each.progress == WANTED:
            detail = "its clip is stored" if each.firing_id in clips else "its clip has not come"
            findings.append(Finding(STAGE, Fault.STUCK, each.firing_id, detail))
        elif each.progress not in (ROUTED, DROPPED):
            findings.append(Finding(STAGE, Fault.UNSEEN, each.firing_id, f"decision {each.progress!r}"))
    routed = {each.task_id: each.firing_id for each in decisions if each.progress == ROUTED}
    findings += compare("label tasks", routed, tasks, routed)
    findings += [
        Finding("label tasks", Fault.DOUBLED, task, f"of {firing} and of {routed[task]}")
        for task, firing in tasks.items()
        if task in routed and routed[task] != firing
    ]
    return sorted(findings)


def check_clips(uploaded: Mapping[str, str], announced: Mapping[str, str]) -> list[Finding]:
    """Every clip that was acknowledged to a vehicle is announced, for its firing and with the same content."""
    findings = [Finding("clips", Fault.LOST, firing) for firing in uploaded if firing not in announced]
    findings += [
        Finding("clips", Fault.UNSEEN, firing, f"{clip} was announced, {uploaded[firing]} was uploaded")
        for firing, clip in announced.items()
        if firing in uploaded and uploaded[firing] != clip
    ]
    return sorted(findings)
