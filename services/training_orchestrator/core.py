"""Pure decisions of the orchestrator: whether a run is due, with which recipe, and whether a dead job is retried."""

from __future__ import annotations

from dataclasses import dataclass

from fleetloop.kit.process.clock import ns_to_seconds
from training_orchestrator.model import DatasetVersion, Policy

MOST_DOUBLINGS = 5
"""After this many doublings the wait between two runs without a candidate stays the same."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision on a new run depends on."""

    newest: DatasetVersion | None
    """Newest version of the policy's dataset."""
    test_set: DatasetVersion | None
    samples_at_last_candidate: int
    """Samples that had ever been added for the last run whose candidate was not turned down; 0 before the first."""
    samples_at_last_run: int
    """Samples that had ever been added for the last run, with or without a candidate; 0 before the first."""
    failures: int
    """Runs that failed, were rejected or turned down by a rollout since the last candidate."""
    last_ended_at_utc_ns: int
    """When the last run ended; 0 when none has."""
    run_is_open: bool
    rollout_is_open: bool
    """True while a candidate is in its rollout: the model that drives may change at any moment."""
    parent_digest: str
    """Digest of the model that drives; empty before the first."""


@dataclass(frozen=True, slots=True)
class Start:
    """A run to start."""

    version: DatasetVersion
    test_set: DatasetVersion
    recipe: str
    parent_digest: str
    why: str
    started_by: str = ""
    """Person who asked for it, as kind/name; empty when the policy did."""


def due(policy: Policy, now: Situation, now_utc_ns: int) -> Start | str:
    """The run to start, or the reason why none is due.

    There is one run at a time, none while a candidate is in its rollout (the run would start from the model before
    it), and none without a frozen test set to examine the model on. A run without a candidate uses up no samples: it
    is retried once `new_samples` more have come, or after a wait that doubles: a failing recipe must not loop.
    A retraction makes no sample new and none old: only added samples count.
    """
    if now.run_is_open:
        return "a run is under way"
    if now.newest is None:
        return f"dataset {policy.dataset} has no version yet"
    if not now.newest.samples:
        return f"dataset {policy.dataset} has no samples: all were retracted"
    if now.test_set is None:
        return f"test set {policy.test_set} has no version yet: import it before the first run"
    if now.rollout_is_open:
        return "a candidate is on its way to the vehicles"
    new = now.newest.ever_added - now.samples_at_last_candidate
    is_first = now.samples_at_last_candidate == 0
    if not is_first and new < policy.new_samples:
        return f"{new} of {policy.new_samples} new samples"
    since_failure = now.newest.ever_added - now.samples_at_last_run
    if now.failures and since_failure < policy.new_samples:
        left_s = wait_s(now.failures, policy) - ns_to_seconds(now_utc_ns - now.last_ended_at_utc_ns)
        if left_s > 0:
            return (
                f"{now.failures} runs without a candidate: again in {left_s:.0f} s, "
                f"or after {policy.new_samples - since_failure} more samples"
            )
    why = f"first run: {now.newest.samples} samples" if is_first else f"{new} new samples since the last candidate"
    if now.failures:
        why += f", {now.failures} runs without a candidate before it"
    recipe = policy.recipe if now.parent_digest else policy.first_recipe
    return Start(now.newest, now.test_set, recipe, now.parent_digest, why)


def wait_s(failures: int, policy: Policy) -> float:
    """Seconds after the last of `failures` until the same data is retried: doubling, up to 32 times as long."""
    return policy.retry_after_s * 2.0 ** min(failures - 1, MOST_DOUBLINGS)


def start_again(attempts: int, policy: Policy) -> bool:
    """True when a job that died without a result is started again; it resumes from its checkpoint."""
    return attempts < policy.attempts
