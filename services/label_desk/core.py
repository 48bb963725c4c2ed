"""Pure decisions of the desk: when votes agree, who may be asked, which lease is valid.

People decide by agreement: n equal answers. One automatic source suffices, but only above the confidence bound; below
it, its vote is kept for the record and people are asked. People also check a share of its answers. A source with
which they agree too seldom decides no more; one with which they agree too seldom about one vehicle decides nothing
about that vehicle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetloop.domain.rates import share_interval
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from label_desk.model import Check, Decision, Lease, Outcome, Source, Vote

EXTRA_VOTES_BEFORE_DISPUTE = 2
"""People asked beyond the required agreement before a task counts as disputed."""
CONFIDENCE = 0.99
"""Of the interval that has to lie below the bound, which is looked at after each check of each vehicle.

In a simulation of 300 checks per vehicle with a bound of 90 %, it stopped 9 % of the vehicles with which people agree
in 90 % of the cases (at a confidence of 95 %: 41 %), and 0.1 % of those with which they agree in 95 %.
"""


class AnswerError(ValueError):
    """An answer that is not one of the task's choices; `field` names it."""

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field
        self.remedy = remedy


def check_answers(schema: TaskSchema, task: str, answers: Mapping[str, str]) -> None:
    """Raises AnswerError unless `answers` is empty ("I cannot tell") or one choice of `task`."""
    for name, choice in answers.items():
        if name != task:
            raise AnswerError(f"answers[{name}]", f"this task asks about {task}")
        try:
            schema.task(name).answer(choice)
        except TaskSchemaError as error:
            raise AnswerError(f"answers[{name}]", error.remedy) from error


def decide(votes: Sequence[Vote], agreement: int, automatic_bound: float) -> Decision | None:
    """How the task ends by these votes, or None while more are needed.

    The last vote of each author counts. `agreement` equal human answers end the task; so does an automatic vote of at
    least `automatic_bound`. `agreement` people who cannot tell end it too, and after
    `agreement + EXTRA_VOTES_BEFORE_DISPUTE` people without agreement it is disputed.
    """
    latest = {vote.author: vote for vote in sorted(votes, key=lambda vote: vote.at_utc_ns)}
    humans = [vote for vote in latest.values() if vote.source is Source.HUMAN]
    counts = Counter(_key(vote) for vote in humans)
    if counts:
        answer, count = max(counts.items(), key=lambda item: (item[1], item[0]))
        if count >= agreement:
            outcome = Outcome.AGREED if answer else Outcome.CANNOT_TELL
            return Decision(outcome, dict(answer), Source.HUMAN, count / len(humans))
    if len(humans) >= agreement + EXTRA_VOTES_BEFORE_DISPUTE:
        return Decision(Outcome.DISPUTED, {}, Source.HUMAN, 0.0)
    sure = [v for v in latest.values() if v.source is not Source.HUMAN and v.answers]
    if sure and not humans:
        best = max(sure, key=lambda vote: (vote.confidence, vote.author))
        if best.confidence >= automatic_bound:
            return Decision(Outcome.AGREED, best.answers, best.source, best.confidence)
    return None


@dataclass(frozen=True, slots=True)
class Audits:
    """How often people agreed with automatic answers, of the newest that they checked: of a source, or of one of its
    vehicles.
    """

    agreed: int = 0
    checked: int = 0

    def interval(self) -> tuple[float, float]:
        """The exact interval of the share with which people agree."""
        return share_interval(self.agreed, self.checked, CONFIDENCE)

    def may_decide(self, least_agreement: float) -> bool:
        """False once it is refuted that people agree with at least this share: three contradictions in a row do."""
        return self.interval()[1] >= least_agreement


@dataclass(frozen=True, slots=True)
class Agreement:
    """What people found about a source, of all vehicles or of one."""

    source: Source
    vehicle_id: str
    """Empty for all vehicles."""
    audits: Audits


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """Which automatic answers people check."""

    share: float
    """Share that is checked at random."""
    least_agreement: float
    """Share of checked answers with which people must agree, or they label."""
    first_checks: int
    """Checked answers about a vehicle from which on further ones may decide."""


def check_of(vote: Vote, chance: float, of_source: Audits, of_vehicle: Audits, policy: CheckPolicy) -> Check:
    """Whether people check an automatic answer: at random, and always while its source or its vehicle is refuted.

    The first answers about a vehicle are checked too: a vehicle could send many before people look at one.

    `chance` is a random number from 0 to 1 that no one outside can know: a vehicle must not see which of its clips
    are checked. Once a vehicle is refuted, answers about it say nothing about the source: one vehicle that forges its
    clips would otherwise stop automatic labels for the whole fleet.
    """
    if not vote.answers:
        return Check.NONE
    if not of_vehicle.may_decide(policy.least_agreement):
        return Check.OF_VEHICLE
    is_first = of_vehicle.checked < policy.first_checks
    if is_first or chance < policy.share or not of_source.may_decide(policy.least_agreement):
        return Check.OF_SOURCE
    return Check.NONE


def _key(vote: Vote) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(vote.answers.items()))


def people_wanted(votes: Sequence[Vote], leases: Sequence[Lease], agreement: int, now_utc_ns: int) -> int:
    """How many more people may be asked now: never more at once than could still be needed to agree."""
    humans = {vote.author: _key(vote) for vote in votes if vote.source is Source.HUMAN}
    leading = max(Counter(humans.values()).values(), default=0)
    held = sum(lease.is_live(now_utc_ns) for lease in leases)
    return max(0, agreement - leading - held)


def may_ask(author: str, votes: Sequence[Vote], leases: Sequence[Lease], agreement: int, now_utc_ns: int) -> bool:
    """True when this labeller may get the task: has not answered it, has no lease on it, and is still wanted."""
    if any(vote.author == author for vote in votes):
        return False
    if any(lease.author == author and lease.is_live(now_utc_ns) for lease in leases):
        return False
    return people_wanted(votes, leases, agreement, now_utc_ns) > 0
