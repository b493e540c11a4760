"""What the recorders of cameras and of files have in common: pictures, names, counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detector.types import Boxes
from stream.events.config import FilmConfig
from stream.events.films import FilmError
from stream.events.records import Event, EventChange, describe, with_media
from stream.events.shelf import GB, Shelf
from stream.picture.overlay import draw_people

log = logging.getLogger(__name__)
JPEG_QUALITY = 88
TIDY_EVERY_S = 30.0


def shelf_of(config: FilmConfig, folder: Path) -> Shelf:
    """The shelf that a configuration asks for; `folder` where it names none."""
    place = Path(config.folder).expanduser() if config.folder else folder
    return Shelf(place, config.keep, config.keep_gb * GB, config.spare_gb * GB)


@dataclass(frozen=True, slots=True)
class RecorderState:
    """Counts of a recorder: films and pictures made, those that failed, bytes in memory, and the last failure."""

    films: int = 0
    pictures: int = 0
    failed: int = 0
    memory_bytes: int = 0
    error: str = ""


class Recorder:
    """What the recorders of cameras and of files have in common: names, counts, pictures."""

    def __init__(self, config: FilmConfig, shelf: Shelf, on_media: Callable[[EventChange], None]) -> None:
        self._config, self._shelf, self._on_media = config, shelf, on_media
        self._films = self._pictures = self._failed = 0
        self._error = ""
        self._tidied_s = -TIDY_EVERY_S

    def _snapshot(self, event: Event, image: np.ndarray | None) -> None:
        """Write the picture of an event, with and without box, and tell of it."""
        if image is None:
            return self._fail(event, "no picture of that moment")
        name = self._shelf.name(event, ".jpg")
        path = self._shelf.path(name)
        try:
            self._make_room()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jpeg(path, image)
            write_jpeg(path.with_name(f"{path.stem}-boxes.jpg"), with_box(image, event))
        except (OSError, FilmError) as error:
            return self._fail(event, str(getattr(error, "strerror", None) or error))
        self._pictures += 1
        if not event.snapshot:
            self._on_media(EventChange("update", with_media(event, snapshot=name), event))
        return None

    def _made(self, event: Event, name: str, lead_s: float) -> None:
        self._films += 1
        self._on_media(EventChange("film", with_media(event, film=name, film_lead_s=lead_s), event))

    def _fail(self, event: Event, error: str) -> None:
        self._failed += 1
        if error != self._error:
            log.warning("no film or picture of event %s: %s; the event itself is kept", event.id, error)
        self._error = error

    def _make_room(self) -> None:
        if time.monotonic() - self._tidied_s >= TIDY_EVERY_S or not self._shelf.has_room():
            self._shelf.tidy()
            self._tidied_s = time.monotonic()
        if not self._shelf.has_room():
            raise FilmError("the disk is full")


def with_box(image: np.ndarray, event: Event) -> np.ndarray:
    """A picture with the event's box and words; the picture itself where there is no box."""
    if event.box is None:
        return image
    h, w = image.shape[:2]
    box = Boxes(np.array([event.box]) * np.array([w, h, w, h]), np.ones(1), np.array([max(event.track, 0)]))
    words = describe(event).split(": ", 1)[-1].split(", ")
    return draw_people(image, box, [((words[0], ""), *((word, "") for word in words[1:4]))])


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a picture; it is there when it is complete."""
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise FilmError("the picture cannot be encoded")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data.tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
