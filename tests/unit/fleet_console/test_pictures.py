"""A task's pictures: the moment marked once, the front cameras large, nothing from outside read as markup."""

from __future__ import annotations

from html.parser import HTMLParser

from fleet_console.pages.pictures import picture_type, pictures_html
from fleetloop.protos.label.v1 import label_pb2

S = 10**9
PNG = b"\x89PNG\r\n\x1a\n..."


class Elements(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def with_class(self, name: str) -> list[dict[str, str]]:
        return [attrs for _, attrs in self.found if name in attrs.get("class", "").split()]


def frames(cameras: list[str], moment: int = 2, count: int = 5) -> list[label_pb2.TaskFrame]:
    return [
        label_pb2.TaskFrame(
            camera=camera,
            at_utc_ns=1000 * S + at * S // 2,
            is_moment=at == moment,
            image=PNG,
            media_type="image/png",
        )
        for at in range(count)
        for camera in cameras
    ]


def test_the_moment_is_marked_once_and_shown_first() -> None:
    page = Elements(pictures_html("t", frames(["front_main", "rear"])))
    assert [each["aria-label"] for each in page.with_class("moment")] == ["The trigger's moment"]
    assert [each["data-index"] for each in page.with_class("chosen")] == ["2", "2"]
    labels = [attrs["aria-label"] for tag, attrs in page.found if tag == "button" and "aria-pressed" in attrs]
    assert labels[0] == "1.0 s before the moment"
    assert labels[-1] == "1.0 s after the moment"


def test_front_cameras_are_large_and_every_picture_has_a_description() -> None:
    page = Elements(pictures_html("t", frames(["front_kerb", "front_main", "rear"])))
    assert len(page.with_class("front")) == len(page.with_class("around")) == 5
    images = [attrs for tag, attrs in page.found if tag == "img"]
    assert len(images) == 5 * 3 + 5 * 2, "every picture once, and those of front cameras in the strip"
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in images)


def test_any_cameras_will_do_and_none_too() -> None:
    only = Elements(pictures_html("t", frames(["dashcam"])))
    assert len(only.with_class("front")) == 5
    assert not only.with_class("around")
    assert not Elements(pictures_html("t", [])).with_class("instant")


def test_names_from_a_clip_are_never_markup() -> None:
    page = Elements(pictures_html('"><script>x</script>', frames(["front<script>alert(1)</script>"])))
    assert "script" not in {tag for tag, _ in page.found}


def test_a_picture_has_the_type_of_its_bytes_and_nothing_else_is_shown() -> None:
    assert picture_type(PNG) == "image/png"
    assert picture_type(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert picture_type(b"RIFF....WEBPVP8 ") == "image/webp"
    for other in (b"", b"<svg onload=alert(1)>", b"<html>", b"GIF89a", b"RIFF....WAVE", b"%PDF-"):
        assert picture_type(other) is None
    frame = label_pb2.TaskFrame(camera="front", is_moment=True, image=b"<svg onload=x>", media_type="image/svg+xml")
    html = pictures_html("t", [frame])
    assert "<img" not in html
    assert "svg" not in html
