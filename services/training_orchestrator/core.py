"""Pure decisions of the orchestrator: whether a run is due, with which recipe, and what a dead job means."""

from __future__ import annotations

from dataclasses import dataclass

from training_orchestrator.model import Policy, VersionSeen


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when the question is asked."""

    newest: VersionSeen | None
    """Newest version of the policy's dataset."""
    test_set: VersionSeen | None
    samples_at_last_run: int
    """Samples of the version that the last run compiled; 0 before the first."""
    run_is_open: bool
    rollout_is_open: bool
    """A candidate is on its way: the model that drives may change at any moment."""
    parent_digest: str
    """Model that drives; empty before the first."""


@dataclass(frozen=True, slots=True)
class Start:
    """A run to start."""

    version: VersionSeen
    test_set: VersionSeen
    recipe: str
    parent_digest: str
    why: str


def due(policy: Policy, now: Situation) -> Start | str:
    """The run to start, or why none is due.

    One run at a time, none while a candidate is on its way (its parent would be yesterday's model), and none
    without a frozen test set to examine it on.
    """
    if now.run_is_open:
        return "a run is under way"
    if now.newest is None:
        return f"dataset {policy.dataset} has no version yet"
    if now.test_set is None:
        return f"test set {policy.test_set} has no version yet: import it before the first run"
    if now.rollout_is_open:
        return "a candidate is on its way to the vehicles"
    new = now.newest.samples - now.samples_at_last_run
    if now.samples_at_last_run == 0:
        why = f"first run: {now.newest.samples} samples"
        return Start(now.newest, now.test_set, policy.first_recipe, now.parent_digest, why)
    if new < policy.new_samples:
        return f"{new} of {policy.new_samples} new samples"
    why = f"{new} new samples since the last run"
    recipe = policy.recipe if now.parent_digest else policy.first_recipe
    return Start(now.newest, now.test_set, recipe, now.parent_digest, why)


def start_again(attempts: int, policy: Policy) -> bool:
    """True when a job that died without a result gets another try; it resumes from its checkpoint."""
    return attempts < policy.attempts
