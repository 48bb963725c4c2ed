"""A task's pictures as HTML: the chosen instant large, and a strip over the clip with the trigger's moment marked."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from fleetloop.kit.process.clock import ns_to_seconds
from fleetloop.protos.label.v1 import label_pb2

_FRONT = "front"
Pictures = Mapping[tuple[int, str], label_pb2.TaskFrame]
"""By time and camera."""


def pictures_html(task_id: str, frames: Sequence[label_pb2.TaskFrame]) -> str:
    """All instants of a clip; the moment's is shown first. Cameras whose name begins with front are large."""
    cameras = list(dict.fromkeys(frame.camera for frame in frames))
    fronts = [camera for camera in cameras if camera.startswith(_FRONT)] or cameras
    arounds = [camera for camera in cameras if camera not in fronts]
    times = sorted({frame.at_utc_ns for frame in frames})
    moment = next((index for index, at in enumerate(times) if _is_moment(frames, at)), 0)
    by = {(frame.at_utc_ns, frame.camera): frame for frame in frames}
    captions = [_caption(ns_to_seconds(at - times[moment]), index == moment) for index, at in enumerate(times)]
    strip = "".join(
        f'<button type="button" class="{"moment" if index == moment else ""}" '
        f'aria-pressed="{str(index == moment).lower()}" aria-label="{captions[index]}">'
        f"<span>{'moment' if index == moment else _offset(ns_to_seconds(at - times[moment]))}</span>"
        f'<div class="rows">{"".join(_image(by, at, camera) for camera in fronts)}</div></button>'
        for index, at in enumerate(times)
    )
    return (
        f'<div class="pictures" data-task="{escape(task_id)}" '
        f'style="--fronts: {max(1, len(fronts))}; --arounds: {max(1, len(arounds))}">'
        f'<div class="when"><output>{captions[moment] if captions else ""}</output>'
        f'<input type="range" min="0" max="{max(0, len(times) - 1)}" value="{moment}" aria-label="Time in the clip">'
        '<button type="button" class="brighten"><kbd>b</kbd> Brighten</button></div>'
        f"{_instants(by, times, moment, fronts, 'front')}"
        f'<div class="strip" role="group" aria-label="The clip over time">{strip}</div>'
        f"{_instants(by, times, moment, arounds, 'around')}</div>"
    )


def _instants(by: Pictures, times: Sequence[int], moment: int, cameras: Sequence[str], kind: str) -> str:
    """One group of pictures per instant; the page shows that of the chosen instant."""
    return "".join(
        f'<div class="{kind} instant{" chosen" if index == moment else ""}" data-index="{index}">'
        f"{_figures(by, at, cameras)}</div>"
        for index, at in enumerate(times)
        if cameras
    )


def _is_moment(frames: Sequence[label_pb2.TaskFrame], at_utc_ns: int) -> bool:
    return any(frame.is_moment for frame in frames if frame.at_utc_ns == at_utc_ns)


def _offset(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{abs(seconds):.1f} s"


def _caption(seconds: float, is_moment: bool) -> str:
    if is_moment:
        return "The trigger's moment"
    return f"{abs(seconds):.1f} s {'before' if seconds < 0 else 'after'} the moment"


def _figures(by: Pictures, at_utc_ns: int, cameras: Sequence[str]) -> str:
    return "".join(
        f"<figure>{_image(by, at_utc_ns, camera)}<figcaption>{escape(camera.replace('_', ' '))}</figcaption></figure>"
        for camera in cameras
    )


def _image(by: Pictures, at_utc_ns: int, camera: str) -> str:
    frame = by.get((at_utc_ns, camera))
    if frame is None:
        return "<div></div>"
    media_type = picture_type(frame.image)
    if media_type is None:
        return '<div class="quiet">not a picture</div>'
    content = b64encode(frame.image).decode()
    alt = escape(f"{camera.replace('_', ' ')} camera")
    return f'<img src="data:{media_type};base64,{content}" alt="{alt}">'


def picture_type(content: bytes) -> str | None:
    """The type by the first bytes, whatever the message says; None for anything but PNG, JPEG and WebP."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None
