"""Recipes: the parameters of a training run, as a file that people edit and that a model's card names.

Every number of a training run is in one file of config/recipes. A mistake in it is reported with the field's name
before training starts.
"""

from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleetloop.domain.tasks import TaskSchema


class RecipeError(ValueError):
    """The recipe is wrong. The message names the field and the remedy."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stem(_Frozen):
    """The convolutions for one kind of camera. Each stage after the first halves the image."""

    channels: tuple[int, ...] = Field(min_length=1)
    """Channels of each stage."""
    first_stride: int = Field(default=1, ge=1, le=8)
    """Stride of the first stage; 4 or more makes it a patch embedding."""
    tokens: int = Field(default=4, ge=1, le=16)
    """Side of the square of tokens that an image becomes."""


class Recipe(_Frozen):
    """The content of a recipe file."""

    name: str
    start: str = Field(pattern="^(scratch|parent)$")
    """`scratch` for new weights, `parent` to continue from the model that is deployed."""
    width: int = Field(ge=8, le=1024, multiple_of=8)
    """Width D of a token."""
    blocks: int = Field(ge=1, le=24)
    """Transformer blocks."""
    attention_heads: int = Field(ge=1)
    stems: dict[str, Stem]
    """Stem of each kind of camera."""
    steps: int = Field(ge=1)
    max_seconds: float = Field(gt=0)
    """Seconds of processor time after which the schedule ends, if `steps` are not done before."""
    batch: int = Field(ge=2)
    """Samples per step."""
    learning_rate: float = Field(gt=0, lt=1)
    """Peak of the learning rate, reached after `warmup_steps` and followed by a cosine to zero."""
    warmup_steps: int = Field(default=20, ge=1)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Bounds the loss of a single answer, because some answers are wrong."""
    averaging: float = Field(default=0.98, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is what is exported."""
    hard_fraction: float = Field(default=0.33, ge=0, lt=1)
    """Share of each batch that is drawn from mined samples."""
    task_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each task's loss; 1 by default."""
    plain_slices: tuple[str, ...] = ("none", "plain", "light")
    """Slices of the test set in which a first model has to be better than chance. All others are rare."""
    dead_cameras: float = Field(default=0.0, ge=0, lt=1)
    """Share of each batch in which one random camera is black, so that no answer depends on a single camera."""
    remember: bool = False
    """Whether training from a parent holds its answers where a sample has none, so that it forgets no task."""
    threads: int = Field(default=1, ge=0)
    """Threads of torch; 0 for one per core. On a shared machine one is fastest, because two wait for each other."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.attention_heads:
            raise ValueError("width must be a multiple of attention_heads")
        return self


def load_recipe(path: Path, schema: TaskSchema) -> Recipe:
    """Read a recipe and check it against the task schema. Raises RecipeError."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise RecipeError(f"recipe: {path} does not exist; recipes are files of config/recipes") from error
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
