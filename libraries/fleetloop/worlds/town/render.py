"""Renders the pictures of all cameras of many vehicles in one pass of array operations.

Why it exists: twenty-four vehicles with eight cameras each must cost about a millisecond per frame, so that nothing
here loops over vehicles, cameras or shapes. Shapes are projected into all cameras at once, sorted from far to near
within each picture, and painted rank by rank: the farthest shape of every picture, then the second, and so on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.tasks import Camera, TaskSchemaError
from fleetloop.worlds.town import shapes as s
from fleetloop.worlds.town.shapes import FloatArray

Pictures = NDArray[np.uint8]
CAMERA_HEIGHT_M = 1.4
SEEN_M = 48.0
"""Shapes that are farther away along the street are not painted."""
_NEAREST_M = 0.7
"""Shapes at a smaller depth are not painted; it also bounds the scale of the projection."""
# Positions to the left of the middle of the lane, and the width of the pavement beyond.
_KERB_RIGHT_M, _KERB_LEFT_M, _PAVEMENT_M = -2.1, 5.4, 1.6
_CROSSING_HALF_M = 4.0
_NOISE_PERIOD = 1 << 16
"""Number of offsets at which a picture's noise may begin in the fixed noise array."""


@dataclass(frozen=True, slots=True)
class View:
    """One vehicle's position and surroundings at one moment."""

    shapes: FloatArray
    """[n, COLUMNS] in the street's frame."""
    along_m: float
    """Position along the street."""
    left_m: float
    """Offset to the left from the middle of the lane."""
    crossings_m: tuple[float, float]
    """Positions along this street at which the streets behind and ahead cross it."""
    light: float
    """Brightness: 1 on a bright day, about 0.15 at night."""
    ground: tuple[s.Colour, s.Colour]
    """Colours of the verge and the sky."""
    noise_seed: int
    """Selects the picture noise; equal views with equal seeds have equal pictures."""


class Renderer:
    """Renders views for a set of cameras, and holds the arrays that depend only on the cameras.

    All cameras must have the same resolution; other worlds have no such limit.
    """

    def __init__(self, cameras: Sequence[Camera]) -> None:
        """Prepare the arrays. Raises TaskSchemaError when the cameras differ in resolution."""
        sizes = {(camera.width, camera.height) for camera in cameras}
        if len(sizes) != 1:
            raise TaskSchemaError("cameras", "the simulated town needs one width and height for all cameras")
        self.width, self.height = sizes.pop()
        self.count = len(cameras)
        yaw = np.radians([camera.yaw_deg for camera in cameras]).astype(np.float32)
        pitch = np.radians([camera.pitch_deg for camera in cameras]).astype(np.float32)
        self._cos_yaw, self._sin_yaw = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        self._cos_pitch, self._sin_pitch = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
        half_fov = np.radians([camera.hfov_deg / 2 for camera in cameras])
        self._focal_px = (self.width / 2 / np.tan(half_fov)).astype(np.float32)[:, None]
        self._columns = np.arange(self.width, dtype=np.float32) + 0.5
        self._rows = np.arange(self.height, dtype=np.float32) + 0.5
        self._trace_ground()
        self._noise = (np.random.default_rng(0).standard_normal(_NOISE_PERIOD * 2) * 0.02).astype(np.float32)

    def _trace_ground(self) -> None:
        """Compute where each pixel's ray meets the ground, in the vehicle's frame: [cameras * pixels]."""
        left = (self.width / 2 - self._columns)[None, None, :] / self._focal_px[:, :, None]
        up = (self.height / 2 - self._rows)[None, :, None] / self._focal_px[:, :, None]
        left, up = np.broadcast_arrays(left, up)
        cos_pitch, sin_pitch = self._cos_pitch[:, :, None], self._sin_pitch[:, :, None]
        forward, rise = cos_pitch - up * sin_pitch, sin_pitch + up * cos_pitch
        cos_yaw, sin_yaw = self._cos_yaw[:, :, None], self._sin_yaw[:, :, None]
        x, y = forward * cos_yaw - left * sin_yaw, forward * sin_yaw + left * cos_yaw
        reach = np.where(rise < -0.01, CAMERA_HEIGHT_M / np.maximum(-rise, 0.01), 0.0)
        self._sky = (rise >= -0.01).reshape(-1)
        self._ground_x = (x * reach).reshape(-1).astype(np.float32)
        self._ground_y = (y * reach).reshape(-1).astype(np.float32)
        distance = np.hypot(x * reach, y * reach).reshape(-1)
        self._haze = np.where(self._sky, 0.0, 1 - np.exp(-distance / 70.0)).astype(np.float32)
        lit = np.where((self._ground_x > 0) & ~self._sky, np.exp(-distance / 12.0), 0.0)
        self._headlight = lit.astype(np.float32)

    def render(self, views: Sequence[View]) -> Pictures:
        """Render views as uint8 [len(views), cameras, height, width, 3]."""
        canvas = self._background(views).reshape(len(views) * self.count, self.height, self.width, 3)
        self._paint(canvas, views)
        flat = canvas.reshape(len(views), -1)
        for row, view in zip(flat, views, strict=True):
            start = view.noise_seed * 7919 % _NOISE_PERIOD
            row += self._noise[start : start + row.size]
        np.multiply(flat, 255.0, out=flat)
        np.clip(flat, 0.0, 255.0, out=flat)
        return flat.astype(np.uint8).reshape(len(views), self.count, self.height, self.width, 3)

    def _background(self, views: Sequence[View]) -> FloatArray:
        """Return road, verge and sky, float32 [views, cameras * pixels, 3]."""
        along = np.array([view.along_m for view in views], np.float32)[:, None]
        left = np.array([view.left_m for view in views], np.float32)[:, None]
        crossings = np.array([view.crossings_m for view in views], np.float32)
        light = np.array([view.light for view in views], np.float32)[:, None]
        verge = np.array([view.ground[0] for view in views], np.float32)
        sky = np.array([view.ground[1] for view in views], np.float32)
        x, y = self._ground_x + along, self._ground_y + left
        middle = np.float32((_KERB_LEFT_M + _KERB_RIGHT_M) / 2)
        half = np.float32((_KERB_LEFT_M - _KERB_RIGHT_M) / 2)
        off_middle = np.abs(y - middle)
        crossing = np.minimum(np.abs(x - crossings[:, :1]), np.abs(x - crossings[:, 1:])) < _CROSSING_HALF_M
        road = (off_middle < half) | crossing
        pavement = (off_middle < half + _PAVEMENT_M) & ~road
        dashes = (off_middle < 0.12) & ~crossing & (np.mod(x, 4.0) < 2.2)
        brightness = light + (1 - light) * 0.45 * self._headlight
        canvas = np.empty((len(views), x.shape[1], 3), np.float32)
        for channel in range(3):
            plane = np.where(road, np.float32(0.33), verge[:, channel, None])
            plane = np.where(pavement, np.float32(0.58), plane)
            plane = np.where(dashes, np.float32(0.85), plane)
            plane += self._haze * (sky[:, channel, None] - plane)
            plane = np.where(self._sky, sky[:, channel, None], plane)
            np.multiply(plane, brightness, out=canvas[:, :, channel])
        return canvas

    def _paint(self, canvas: FloatArray, views: Sequence[View]) -> None:
        """Paint every view's shapes onto canvas [views * cameras, height, width, 3], far ones first."""
        shapes = np.concatenate([view.shapes for view in views])
        owner = np.repeat(np.arange(len(views)), [len(view.shapes) for view in views])
        x = shapes[:, s.X] - np.array([view.along_m for view in views], np.float32)[owner]
        near = np.abs(x) < SEEN_M
        shapes, owner, x = shapes[near], owner[near], x[near]
        y = shapes[:, s.Y] - np.array([view.left_m for view in views], np.float32)[owner]
        z = shapes[:, s.Z] - np.float32(CAMERA_HEIGHT_M)
        forward = x * self._cos_yaw + y * self._sin_yaw
        sideways = -x * self._sin_yaw + y * self._cos_yaw
        depth = forward * self._cos_pitch + z * self._sin_pitch
        rise = -forward * self._sin_pitch + z * self._cos_pitch
        scale = self._focal_px / np.maximum(depth, _NEAREST_M)
        column, row = self.width / 2 - sideways * scale, self.height / 2 - rise * scale
        half_w, half_h = shapes[:, s.HALF_WIDTH] * scale, shapes[:, s.HALF_HEIGHT] * scale
        seen = (depth > _NEAREST_M) & (np.abs(column - self.width / 2) < self.width / 2 + half_w)
        seen &= (np.abs(row - self.height / 2) < self.height / 2 + half_h) & (half_h > 0.15)
        camera, index = np.nonzero(seen)
        picture = owner[index] * self.count + camera
        order = np.lexsort((-depth[camera, index], picture))
        camera, index, picture = camera[order], index[order], picture[order]
        light = np.array([view.light for view in views], np.float32)[owner[index]]
        glow = shapes[index, s.GLOW]
        # Headlights light shapes that are ahead and close; shapes that glow keep their colour.
        reach = np.where(x[index] > 0, np.exp(-depth[camera, index] / 14.0), 0.0)
        factor = light + (1 - light) * np.maximum(glow, 0.4 * reach)
        colour = (shapes[index, s.RED : s.BLUE + 1] * factor[:, None]).astype(np.float32)
        self._paint_ranks(
            canvas,
            picture,
            np.stack([column[camera, index], row[camera, index]], 1),
            np.stack([half_w[camera, index], half_h[camera, index]], 1),
            shapes[index, s.BEVEL],
            colour,
        )

    def _paint_ranks(
        self,
        canvas: FloatArray,
        picture: NDArray[np.int64],
        centre: FloatArray,
        half: FloatArray,
        bevel: FloatArray,
        colour: FloatArray,
    ) -> None:
        """Paint shapes that are sorted by picture and, within each picture, from far to near.

        Args:
            canvas: float32 [pictures, height, width, 3], painted in place.
            picture: [n] index of the picture of each shape.
            centre: [n, 2] column and row of its centre, pixels.
            half: [n, 2] half of its width and height, pixels.
            bevel: [n] column BEVEL of `shapes`.
            colour: [n, 3] its colour, light included.
        """
        if len(picture) == 0:
            return
        # The rank of a shape is its number within its picture. Shapes of one rank are in different pictures, so that
        # they can be painted together.
        first = np.r_[True, picture[1:] != picture[:-1]]
        start = np.maximum.accumulate(np.where(first, np.arange(len(picture)), 0))
        rank = np.arange(len(picture)) - start
        by_rank = np.argsort(rank, kind="stable")
        for chosen in np.split(by_rank, np.cumsum(np.bincount(rank))[:-1]):
            cover = self._coverage(centre[chosen], half[chosen], bevel[chosen])[..., None]
            target = picture[chosen]
            below = canvas[target]
            below += cover * (colour[chosen][:, None, None, :] - below)
            canvas[target] = below

    def _coverage(self, centre: FloatArray, half: FloatArray, bevel: FloatArray) -> FloatArray:
        """Return the share of each pixel that each shape covers: [n, height, width]."""
        across, down = self._columns - centre[:, :1], self._rows - centre[:, 1:]
        cover_x, cover_y = _interval(across, half[:, :1]), _interval(down, half[:, 1:])
        cover = cover_y[:, :, None] * cover_x[:, None, :]
        # Corners are cut only where the shape is large enough to show it.
        cut = np.flatnonzero((bevel < s.BOX) & (half.min(axis=1) > 1.0))
        if cut.size:
            reach = (np.abs(across[cut]) / half[cut, :1])[:, None, :]
            reach = reach + (np.abs(down[cut]) / half[cut, 1:])[:, :, None]
            edge = half[cut].min(axis=1)[:, None, None] * np.float32(0.7)
            cover[cut] *= np.clip((bevel[cut, None, None] - reach) * edge + 0.5, 0.0, 1.0)
        return cover


def _interval(offset: FloatArray, half: FloatArray) -> FloatArray:
    """Return the share of the unit pixel centred at `offset` that lies between -half and +half."""
    inner = np.minimum(offset + np.float32(0.5), half) - np.maximum(offset - np.float32(0.5), -half)
    covered: FloatArray = np.clip(inner, 0.0, 1.0)
    return covered
