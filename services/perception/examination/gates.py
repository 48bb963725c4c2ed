"""All gates for one exported model, in the order of what they cost."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetloop.domain.run_folder import Gate
from fleetloop.domain.tasks import TaskSchema
from perception import evaluate
from perception.data import Samples
from perception.drives import drive, watch, world_of
from perception.evaluate import Correct, Outputs
from perception.examination import slices
from perception.examination.budget import cost_of, examine_budget
from perception.examination.calibration import examine_calibration, stated
from perception.examination.closed_loop import examine_drives
from perception.examination.plan import ExaminationPlan, VehicleBudget
from perception.examination.robustness import chosen_scenes, damages, examine_damaged
from perception.examination.temporal import examine_sequences
from perception.examination.verdict import gate
from perception.inference import predict_exported

Say = Callable[[str], None]
"""Called with what is examined next."""
SEED = 1
"""Of the choice of scenes, the noise and the resampling: every model is examined with the same."""


@dataclass(frozen=True, slots=True)
class Examinee:
    """What is examined, and on what."""

    model: Path
    """Folder with the candidate's exported files."""
    outputs: Outputs
    """Its answers to the test set."""
    parent: Path | None
    """Folder with those of the model in the field; None for a first model."""
    parent_outputs: Outputs | None
    test: Samples
    plain: tuple[str, ...]
    """Slices that are not rare."""


def examine_model(
    examinee: Examinee,
    schema: TaskSchema,
    schema_path: Path,
    plan: ExaminationPlan,
    budget: VehicleBudget,
    say: Say = lambda text: None,
) -> Iterator[Gate]:
    """Yield what each gate says. A first model has nothing to be compared with, and passes fewer gates.

    Raises BudgetError or ModelError when an exported model does not run.
    """
    test = examinee.test
    right = evaluate.correct_answers(schema, examinee.outputs, test.targets)
    if examinee.parent is None or examinee.parent_outputs is None:
        yield gate("slices", slices.examine_first(schema, right, test.slices, examinee.plain))
    else:
        before = evaluate.correct_answers(schema, examinee.parent_outputs, test.targets)
        error = plan.error * plan.shares.slices
        yield gate("slices", slices.examine(right, before, test.slices, examinee.plain, error))
    say("budget")
    yield gate("budget", examine_budget(cost_of(examinee.model, schema_path, budget), budget))
    if examinee.parent is None or examinee.parent_outputs is None:
        return
    say("calibration")
    yield gate(
        "calibration",
        examine_calibration(
            stated(schema, examinee.parent_outputs, test.targets),
            stated(schema, examinee.outputs, test.targets),
            plan.calibration,
            plan.error * plan.shares.calibration,
            SEED,
        ),
    )
    say("robustness")
    answers = [_damaged_answers(folder, test, schema, plan) for folder in (examinee.parent, examinee.model)]
    error = plan.error * plan.shares.robustness
    yield gate("robustness", examine_damaged(answers[0], answers[1], plan.robustness, error))
    if (world := world_of(plan.closed_loop, schema)) is None:
        return
    say("temporal")
    old, new = watch(world(), (examinee.parent, examinee.model), schema, plan.closed_loop)
    yield gate("temporal", examine_sequences(old, new, plan.error * plan.shares.temporal))
    say("closed loop")
    roads = [drive(world(), folder, schema, plan.closed_loop) for folder in (examinee.parent, examinee.model)]
    yield gate("closed_loop", examine_drives(roads[0], roads[1], plan.error * plan.shares.closed_loop))


def _damaged_answers(folder: Path, test: Samples, schema: TaskSchema, plan: ExaminationPlan) -> Mapping[str, Correct]:
    rows = chosen_scenes(len(test), plan.robustness.scenes, SEED)
    frames, targets = test.frames[rows], {column: values[rows] for column, values in test.targets.items()}
    return {
        name: evaluate.correct_answers(schema, predict_exported(folder, damage(frames), schema), targets)
        for name, damage in damages(schema, plan.robustness, SEED).items()
    }
