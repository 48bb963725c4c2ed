"""Recipes: how a dataset becomes a net, as a file that a person edits and that a card names.

Why it exists: every number of a training run stands in one file of config/recipes, and a mistake in it is a sentence
that names the field, before minutes are spent.
"""

from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleetloop.domain.tasks import TaskSchema


class RecipeError(ValueError):
    """The recipe is wrong; the text names the field and the remedy."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stem(_Frozen):
    """The convolutions of one kind of camera: each stage after the first halves the picture."""

    channels: tuple[int, ...] = Field(min_length=1)
    first_stride: int = Field(default=1, ge=1, le=8)
    tokens: int = Field(default=4, ge=1, le=16)
    """Side of the square of tokens that a picture becomes."""


class Recipe(_Frozen):
    """All of a recipe file."""

    name: str
    start: str = Field(pattern="^(scratch|parent)$")
    width: int = Field(ge=8, le=1024, multiple_of=8)
    blocks: int = Field(ge=1, le=24)
    attention_heads: int = Field(ge=1)
    stems: dict[str, Stem]
    steps: int = Field(ge=1)
    max_seconds: float = Field(gt=0)
    """The schedule ends at `steps` or after so much processor time, whichever comes first."""
    batch: int = Field(ge=2)
    learning_rate: float = Field(gt=0, lt=1)
    warmup_steps: int = Field(default=20, ge=1)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Answers are sometimes wrong: no single one may pull without bound."""
    averaging: float = Field(default=0.98, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is exported."""
    hard_fraction: float = Field(default=0.33, ge=0, lt=1)
    """Share of each batch drawn from rows that a trigger brought."""
    task_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of a task's loss; 1 unless given."""
    plain_slices: tuple[str, ...] = ("none", "plain", "light")
    """Slices of the test set that must not get worse; the others are the rare ones."""
    threads: int = Field(default=1, ge=0)
    """0: as many as there are cores. On a machine that is shared one is best: two wait for each other."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.attention_heads:
            raise ValueError("width must be a multiple of attention_heads")
        return self


def load_recipe(path: Path, schema: TaskSchema) -> Recipe:
    """Reads a recipe and holds it to the task schema. Raises RecipeError."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise RecipeError(f"recipe: {path} does not exist; recipes are files in config/recipes") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path}: {_first(error)}") from error
    for camera in schema.cameras:
        if camera.kind not in recipe.stems:
            raise RecipeError(f"recipe {path}: stems has no entry for cameras of kind {camera.kind!r}")
    return recipe


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
