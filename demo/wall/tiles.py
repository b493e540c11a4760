"""Pictures for tiles: scaled to what is shown, encoded once for all who look at that size. No sockets here.

Boxes and labels go beside the picture as JSON: the page draws them, so that they can be read however small a tile is,
and nothing is drawn here.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from demo.colours import styles_of
from demo.viewing import describe_people
from stream.service.camera import Camera
from stream.service.privacy import blur

# Widths that are made; a tile gets the first that is not smaller than it is.
WIDTHS_PX = (160, 240, 320, 480, 640, 960, 1280)
QUALITY = 75


@dataclass(frozen=True, eq=False, slots=True)
class Tile:
    """A picture of a camera.

    Attributes:
        mark: of the picture; another picture of the same camera has another.
        about: JSON of time and people.
        jpeg: the picture.
    """

    mark: tuple[int, int, float]
    about: bytes
    jpeg: bytes


def width_for(shown_px: float) -> int:
    """The width that is made for a tile of that width."""
    return next((width for width in WIDTHS_PX if width >= shown_px), WIDTHS_PX[-1])


class Tiles:
    """The newest picture of each camera in each size that somebody looks at."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], Tile] = {}
        self._locks: dict[tuple[str, int], threading.Lock] = {}
        self._lock = threading.Lock()

    def picture(self, camera: Camera, width_px: int, known: object = None) -> Tile | None:
        """The camera's newest picture; None where it gives none, or `known` is the mark of that very picture.

        Args:
            camera: that runs.
            width_px: one of `WIDTHS_PX`; smaller pictures are not made larger.
            known: mark of the picture that the caller has.
        """
        key = (camera.name, width_px)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            update = camera.look()
            if update is None or update.frame is None or camera.session is None:
                return None
            frame = update.frame
            mark = (id(camera), frame.index, frame.time_s)
            if mark == known:
                return None
            made = self._made.get(key)
            if made is not None and made.mark == mark:
                return made
            image = _scaled(blur(frame.image, update.boxes, camera.settings.blur), width_px)
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            limits = camera.thresholds()
            wanted = camera.actions()
            if wanted is not None:
                limits[np.setdiff1d(np.arange(len(limits)), wanted)] = np.inf
            about = {"time_s": round(frame.time_s, 3), "people": describe_people(update, limits)}
            tile = Tile(mark, json.dumps(about, separators=(",", ":")).encode(), jpeg)
            self._made[key] = tile
            return tile

    def forget(self, names: set[str]) -> None:
        """Keep pictures of these cameras alone."""
        with self._lock:
            for key in [key for key in self._made if key[0] not in names]:
                del self._made[key]
                self._locks.pop(key, None)


def styles_for(camera: Camera) -> dict[str, list[Any]]:
    """How the actions of a camera's model are shown; empty before the model is there."""
    session = camera.session
    if session is None:
        return {}
    return styles_of(session.model.labels, () if session.untrained else session.model.works_on_real_video)


def _scaled(image: np.ndarray, width_px: int) -> np.ndarray:
    h, w = image.shape[:2]
    if w <= width_px:
        return image
    size = (width_px, max(round(h * width_px / w), 1))
    # A rough halving first costs a fifth of averaging a large picture whole, and looks the same.
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if w < 3 * width_px else cv2.INTER_LINEAR)
