"""The reference net: images become tokens, tokens of several frames meet in a transformer, and each task reads a
token.

    cameras [B, C, H, W, 3] -> Encoder -> tokens [B, N, D]          once per frame; the vehicle keeps them
    tokens [B, T, N, D]     -> Head    -> one output per schema column

The task schema determines cameras, frames and heads; the recipe determines the sizes.
Shapes: B batch, T frames, C cameras, H and W image height and width, N tokens per frame, D width of a token.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetloop.domain.tasks import TaskSchema
from perception.recipe import Recipe, Stem


class ImageStem(nn.Module):
    """Convolutions for the cameras of one kind: images [B, 3, H, W] to tokens [B, tokens * tokens, D]."""

    def __init__(self, stem: Stem, width: int, side: int) -> None:
        """Take the stem's recipe, the width D, and the image's side in pixels. Images are square, a power of two."""
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for stage, channels in enumerate(stem.channels):
            stride = stem.first_stride if stage == 0 else 2
            # A stride of 4 or more is a patch embedding: the kernel covers each pixel once.
            kernel, padding = (3, 1) if stride < 4 else (stride, 0)
            layers += [
                nn.Conv2d(in_channels, channels, kernel, stride, padding),
                nn.GroupNorm(1, channels),
                nn.GELU(),
            ]
            in_channels, side = channels, side // stride
        # Maximum, not mean: a distant sign covers only a few pixels of a token's square.
        layers += [nn.MaxPool2d(max(1, side // stem.tokens))]
        self.layers = nn.Sequential(*layers)
        self.proj = nn.Linear(in_channels, width)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layers(images)  # [B, channels, tokens, tokens]
        tokens: Tensor = self.proj(x.flatten(2).transpose(1, 2))  # [B, tokens * tokens, D]
        return tokens


class Encoder(nn.Module):
    """One frame of all cameras, uint8 [B, C, H, W, 3], to its tokens [B, N, D]."""

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        # Cameras of one kind share a stem, so that they can be batched: kind -> positions in the schema's order.
        self.kinds = {
            kind: [i for i, camera in enumerate(schema.cameras) if camera.kind == kind]
            for kind in dict.fromkeys(camera.kind for camera in schema.cameras)
        }
        self.stems = nn.ModuleDict(
            {
                kind: ImageStem(recipe.stems[kind], recipe.width, schema.cameras[cameras[0]].width)
                for kind, cameras in self.kinds.items()
            }
        )
        self.tokens = sum(recipe.stems[kind].tokens ** 2 * len(cameras) for kind, cameras in self.kinds.items())
        self.pos_emb = nn.Parameter(torch.randn(self.tokens, recipe.width) * 0.02)

    def forward(self, cameras: Tensor) -> Tensor:
        B = cameras.shape[0]
        pixels = cameras.permute(0, 1, 4, 2, 3).float().contiguous() / 127.5 - 1.0  # [B, C, 3, H, W], -1 to 1
        parts = []
        for kind, indices in self.kinds.items():
            # A slice instead of an index list where possible: it copies nothing.
            chosen = pixels[:, indices[0] : indices[-1] + 1] if _is_consecutive(indices) else pixels[:, indices]
            tokens = self.stems[kind](chosen.reshape(-1, *chosen.shape[2:]))  # [B * cameras of the kind, n, D]
            parts.append(tokens.reshape(B, -1, tokens.shape[-1]))
        return torch.cat(parts, 1) + self.pos_emb


class Attention(nn.Module):
    """Multi-head attention of the present frame's tokens x [B, M, D] to themselves and to the past [B, P, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        B, M, D = x.shape
        context = torch.cat([x, past], 1)  # [B, M + P, D]
        q = self.q(x).reshape(B, M, self.heads, D // self.heads).transpose(1, 2)  # [B, heads, M, D / heads]
        kv = self.kv(context).reshape(B, context.shape[1], 2, self.heads, D // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)  # [B, heads, M + P, D / heads] each
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, M, D)
        out: Tensor = self.proj(y)
        return out


class MLP(nn.Module):
    """Two linear layers with a GELU between them, three times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Created in this order so that a seed gives the weights with which the published measurements were made.
        proj = nn.Linear(3 * width, width)
        self.fc = nn.Linear(width, 3 * width)
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(F.gelu(self.fc(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block. Only the present's tokens are updated; the past is context."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width)
        # With zero output projections each block starts as the identity, which makes deep stacks train from step one.
        for proj in (self.attn.proj, self.mlp.proj):
            nn.init.zeros_(proj.weight)
            nn.init.zeros_(proj.bias)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), self.norm1(past))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Head(nn.Module):
    """Tokens of T frames [B, T, N, D], the present last, to raw outputs: one [B, width] per schema column.

    Each task has a token of its own, so that tasks share what is seen and not what they conclude from it.
    """

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        D = recipe.width
        self.tasks = [task.name for task in schema.tasks]
        self.columns = list(schema.columns())
        self.time_emb = nn.Parameter(torch.randn(schema.frames.count, 1, D) * 0.02)
        self.skip = nn.Linear(D, D)
        self.task_tokens = nn.Parameter(torch.randn(len(self.tasks), D) * 0.02)
        self.blocks = nn.ModuleList(Block(D, recipe.attention_heads) for _ in range(recipe.blocks))
        self.norm = nn.LayerNorm(D)
        self.outputs = nn.ModuleDict(
            {_key(column): nn.Linear(D, head.width) for column, (_, head) in schema.columns().items()}
        )

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        timed = tokens + self.time_emb
        past, present = timed[:, :-1].flatten(1, 2), timed[:, -1]  # [B, (T - 1) * N, D], [B, N, D]
        # The maximum over the present's tokens goes straight into the task tokens: a short path for gradients to the
        # stems while attention is untrained.
        task_tokens = self.task_tokens + self.skip(tokens[:, -1].amax(1))[:, None]  # [B, tasks, D]
        x = torch.cat([task_tokens, present], 1)
        for block in self.blocks:
            x = block(x, past)
        task_states = self.norm(x[:, : len(self.tasks)])
        return {
            column: self.outputs[_key(column)](task_states[:, self.tasks.index(column.split(".")[0])])
            for column in self.columns
        }


class Net(nn.Module):
    """Encoder and head together, as they are trained: uint8 [B, T, C, H, W, 3] to raw outputs by schema column."""

    def __init__(self, schema: TaskSchema, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = Encoder(schema, recipe)
        self.head = Head(schema, recipe)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        B, T = frames.shape[:2]
        # On a vehicle, tokens of earlier frames are kept from earlier steps. Leaving these frames out of the backward
        # pass halves the time of a training step.
        with torch.no_grad():
            past = self.encoder(frames[:, :-1].flatten(0, 1)).reshape(B, T - 1, self.encoder.tokens, -1)
        present = self.encoder(frames[:, -1])[:, None]
        outputs: dict[str, Tensor] = self.head(torch.cat([past, present], 1))
        return outputs


def activate(outputs: dict[str, Tensor], schema: TaskSchema) -> dict[str, Tensor]:
    """Turn raw outputs into probabilities, or into numbers in the head's unit."""
    activated = {}
    for column, (_, head) in schema.columns().items():
        raw = outputs[column]
        if head.kind == "categorical":
            activated[column] = raw.softmax(-1)
        elif head.kind == "scalar":
            activated[column] = raw * head.scale
        else:
            activated[column] = raw.sigmoid()
    return activated


def _is_consecutive(indices: list[int]) -> bool:
    return indices == list(range(indices[0], indices[-1] + 1))


def _key(column: str) -> str:
    return column.replace(".", "__")  # nn.ModuleDict does not allow dots in names
