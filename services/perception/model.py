"""The net: pictures become tokens, tokens of several frames meet in a transformer, every task asks with its own.

    cameras [B, C, H, W, 3] -> Encoder -> tokens [B, N, D]          once per frame; the vehicle keeps them
    tokens [B, T, N, D]     -> Head    -> one output per schema column

Which cameras, frames and heads there are comes from the task schema, how strong the stems are from the recipe.
Shapes: B batch, T frames, C cameras, N tokens of a frame, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetloop.domain.tasks import TaskSchema
from perception.recipe import Recipe, Stem


class PictureStem(nn.Module):
    """Convolutions for the cameras of one kind: [B, 3, H, W] -> [B, tokens * tokens, D]."""

    def __init__(self, stem: Stem, width: int, side: int) -> None:
        """`side` is the picture's, in pixels; pictures are square and a power of two."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage, channels in enumerate(stem.channels):
            stride = stem.first_stride if stage == 0 else 2
            layers += [
                nn.Conv2d(before, channels, 3 if stride < 4 else stride, stride, 1 if stride < 4 else 0),
                nn.GroupNorm(1, channels),
                nn.GELU(),
            ]
            before, side = channels, side // stride
        # The strongest answer within a token's square: a sign is a few pixels of it.
        layers += [nn.MaxPool2d(max(1, side // stem.tokens))]
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(before, width)

    def forward(self, pictures: Tensor) -> Tensor:
        projected: Tensor = self.project(self.layers(pictures).flatten(2).transpose(1, 2))
        return projected


class Encoder(nn.Module):
    """One frame of all cameras, uint8 [B, C, H, W, 3], to its tokens [B, N, D]."""

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        self.kinds = {
            kind: [i for i, camera in enumerate(schema.cameras) if camera.kind == kind]
            for kind in dict.fromkeys(camera.kind for camera in schema.cameras)
        }
        self.stems = nn.ModuleDict(
            {
                kind: PictureStem(recipe.stems[kind], recipe.width, schema.cameras[found[0]].width)
                for kind, found in self.kinds.items()
            }
        )
        self.tokens = sum(recipe.stems[kind].tokens ** 2 * len(found) for kind, found in self.kinds.items())
        self.places = nn.Parameter(torch.randn(self.tokens, recipe.width) * 0.02)

    def forward(self, cameras: Tensor) -> Tensor:
        values = cameras.permute(0, 1, 4, 2, 3).float().contiguous() / 127.5 - 1.0
        parts = []
        for kind, found in self.kinds.items():
            seen = values[:, found[0] : found[-1] + 1] if _is_run(found) else values[:, found]
            pictures = seen.reshape(-1, *seen.shape[2:])
            tokens = self.stems[kind](pictures)
            parts.append(tokens.reshape(cameras.shape[0], -1, tokens.shape[-1]))
        return torch.cat(parts, 1) + self.places


class Block(nn.Module):
    """A pre-norm transformer block: the present x [B, M, D] looks at itself and at the past [B, P, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_mixing, self.before_thinking = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.mixed = nn.Linear(width, width)
        thought = nn.Linear(3 * width, width)
        self.think = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), thought)
        for last in (self.mixed, thought):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        B, M, D = x.shape
        queries = self.before_mixing(x)
        seen = torch.cat([queries, self.before_mixing(past)], 1)
        query = self.query(queries).reshape(B, M, self.heads, D // self.heads).transpose(1, 2)
        both = self.key_value(seen).reshape(B, seen.shape[1], 2, self.heads, D // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(B, M, D)
        x = x + self.mixed(mixed)
        result: Tensor = x + self.think(self.before_thinking(x))
        return result


class Head(nn.Module):
    """Tokens of T frames [B, T, N, D] to raw outputs, one [B, width] per schema column.

    Each task asks with a token of its own, so that tasks share what is seen and not what is concluded.
    """

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        D = recipe.width
        self.tasks = [task.name for task in schema.tasks]
        self.columns = list(schema.columns())
        self.when = nn.Parameter(torch.randn(schema.frames.count, 1, D) * 0.02)
        self.glance = nn.Linear(D, D)
        self.questions = nn.Parameter(torch.randn(len(self.tasks), D) * 0.02)
        self.blocks = nn.ModuleList(Block(D, recipe.attention_heads) for _ in range(recipe.blocks))
        self.norm = nn.LayerNorm(D)
        self.outputs = nn.ModuleDict(
            {_key(column): nn.Linear(D, head.width) for column, (_, head) in schema.columns().items()}
        )

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        timed = tokens + self.when
        past = timed[:, :-1].flatten(1, 2)
        # A glance at the strongest of everything: a short way for gradients to the stems while attention is untaught.
        asked = self.questions + self.glance(tokens[:, -1].amax(1))[:, None]
        x = torch.cat([asked, timed[:, -1]], 1)
        for block in self.blocks:
            x = block(x, past)
        concluded = self.norm(x[:, : len(self.tasks)])
        return {
            column: self.outputs[_key(column)](concluded[:, self.tasks.index(column.split(".")[0])])
            for column in self.columns
        }


class Net(nn.Module):
    """Encoder and head together, as they are trained: uint8 [B, T, C, H, W, 3] -> raw outputs by column."""

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = Encoder(schema, recipe)
        self.head = Head(schema, recipe)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        B, T = frames.shape[:2]
        # Earlier frames come from the vehicle's memory; leaving them out of the backward pass halves a step's time.
        with torch.no_grad():
            past = self.encoder(frames[:, :-1].flatten(0, 1)).reshape(B, T - 1, self.encoder.tokens, -1)
        present = self.encoder(frames[:, -1])[:, None]
        outputs: dict[str, Tensor] = self.head(torch.cat([past, present], 1))
        return outputs


def activate(outputs: dict[str, Tensor], schema: TaskSchema) -> dict[str, Tensor]:
    """Raw outputs to what they mean: probabilities, or a number in the head's unit."""
    meant = {}
    for column, (_, head) in schema.columns().items():
        raw = outputs[column]
        if head.kind == "categorical":
            meant[column] = raw.softmax(-1)
        elif head.kind == "scalar":
            meant[column] = raw * head.scale
        else:
            meant[column] = raw.sigmoid()
    return meant


def _is_run(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[-1] + 1))


def _key(column: str) -> str:
    return column.replace(".", "__")
