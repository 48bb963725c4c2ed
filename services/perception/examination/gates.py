"""All gates for one exported model, in the order of what they cost."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fleetloop.domain.run_folder import Gate
from fleetloop.domain.tasks import TaskSchema
from perception import evaluate
from perception.data import Samples
from perception.drives import drive, watch, world_of
from perception.evaluate import Correct, Outputs
from perception.examination import slices
from perception.examination.budget import cost_of, examine_budget
from perception.examination.calibration import examine_calibration, stated
from perception.examination.cases import chosen_cases, examine_cases
from perception.examination.closed_loop import Road, examine_drives
from perception.examination.plan import ExaminationPlan, VehicleBudget
from perception.examination.robustness import chosen_scenes, damages, examine_damaged
from perception.examination.temporal import Right, examine_sequences
from perception.examination.verdict import gate
from perception.inference import predict_exported

Say = Callable[[str], None]
"""Called with what is examined next."""
SEED = 1
"""Of the choice of scenes, the noise and the resampling: every model is examined with the same."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What every model is asked."""

    schema: TaskSchema
    schema_path: Path
    plan: ExaminationPlan
    budget: VehicleBudget
    test: Samples
    """The frozen test set."""
    dataset: Samples
    """What the candidate was trained on. Its mined samples are cases."""
    plain: tuple[str, ...]
    """Slices that are not rare."""

    @property
    def truth(self) -> Correct:
        """By task with a decision, [scenes] of the test set: 1 where the car should act, 0 where not, else NaN."""
        acts = evaluate.decisions(self.schema, self.test.targets)
        return {
            task.name: np.where(
                np.isnan(self.test.targets[f"{task.name}.{task.decision[0]}"][:, 0]), np.nan, acts[task.name]
            )
            for task in self.schema.tasks
            if task.decision
        }


class Examinee:
    """An exported model before the examination. Each of its answers is computed once, when a gate asks for it.

    Reading an answer raises ModelError if the model does not run.
    """

    def __init__(self, model: Path, paper: Paper) -> None:
        """Take the folder with the model's exported files."""
        self.model = model
        self._paper = paper

    @cached_property
    def outputs(self) -> Outputs:
        """Of the test set."""
        return predict_exported(self.model, self._paper.test.frames, self._paper.schema)

    @cached_property
    def right(self) -> Correct:
        """Which answers to the test set are correct."""
        return evaluate.correct_answers(self._paper.schema, self.outputs, self._paper.test.targets)

    @cached_property
    def cases(self) -> tuple[Correct, list[str]]:
        """Which answers to the cases are correct, and the family of each."""
        dataset, schema = self._paper.dataset, self._paper.schema
        families = [group.partition("/")[0] for group in dataset.groups]
        rows = chosen_cases(families, self._paper.plan.cases.most_per_family)
        if not len(rows):
            return {}, []
        outputs = predict_exported(self.model, dataset.frames[rows], schema)
        targets = {column: values[rows] for column, values in dataset.targets.items()}
        return evaluate.correct_answers(schema, outputs, targets), [families[row] for row in rows]

    @cached_property
    def damaged(self) -> Mapping[str, Correct]:
        """Which answers to damaged scenes of the test set are correct, by damage."""
        test, schema, plan = self._paper.test, self._paper.schema, self._paper.plan.robustness
        rows = chosen_scenes(len(test), plan.scenes, SEED)
        frames, targets = test.frames[rows], {column: values[rows] for column, values in test.targets.items()}
        return {
            name: evaluate.correct_answers(schema, predict_exported(self.model, damage(frames), schema), targets)
            for name, damage in damages(schema, plan, SEED).items()
        }

    @cached_property
    def sequences(self) -> Mapping[str, list[Right]] | None:
        """What it decides while it watches a drive, by task; None where there is no world."""
        world = world_of(self._paper.plan.closed_loop, self._paper.schema)
        if world is None:
            return None
        return watch(world(), self.model, self._paper.schema, self._paper.plan.closed_loop)

    @cached_property
    def road(self) -> Road | None:
        """What happens while it drives; None where there is no world."""
        world = world_of(self._paper.plan.closed_loop, self._paper.schema)
        if world is None:
            return None
        return drive(world(), self.model, self._paper.schema, self._paper.plan.closed_loop)


def examine_model(
    model: Examinee, parent: Examinee | None, paper: Paper, say: Say = lambda text: None
) -> Iterator[Gate]:
    """Yield what each gate says.

    Args:
        model: The candidate.
        parent: The model in the field; None for a first model, which passes fewer gates, because there is nothing to
            compare it with.
        paper: What both are asked.
        say: Called with the name of each gate before it begins.

    Raises BudgetError or ModelError when an exported model does not run.
    """
    schema, plan, test = paper.schema, paper.plan, paper.test
    say("slices")
    if parent is None:
        yield gate("slices", slices.examine_first(schema, model.right, test.slices, paper.plain))
    else:
        error = plan.error * plan.shares.slices
        conditions = slices.Conditions(paper.truth, plan.slices.conditions)
        yield gate("slices", slices.examine(model.right, parent.right, test.slices, paper.plain, error, conditions))
    say("budget")
    yield gate("budget", examine_budget(cost_of(model.model, paper.schema_path, paper.budget), paper.budget))
    if parent is None:
        return
    say("cases")
    (before, families), (now, _) = parent.cases, model.cases
    yield gate("cases", examine_cases(before, now, families, plan.error * plan.shares.cases))
    say("calibration")
    old, new = (stated(schema, each.outputs, test.targets) for each in (parent, model))
    error = plan.error * plan.shares.calibration
    yield gate("calibration", examine_calibration(old, new, plan.calibration, error, SEED))
    say("robustness")
    error = plan.error * plan.shares.robustness
    yield gate("robustness", examine_damaged(parent.damaged, model.damaged, plan.robustness, error))
    say("temporal")
    if parent.sequences is not None and model.sequences is not None:
        error = plan.error * plan.shares.temporal
        yield gate("temporal", examine_sequences(parent.sequences, model.sequences, error))
    say("closed loop")
    if parent.road is not None and model.road is not None:
        yield gate("closed_loop", examine_drives(parent.road, model.road, plan.error * plan.shares.closed_loop))
