"""Pictures for those who watch a camera: drawn when somebody asks, once for all who ask at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from stream.picture.overlay import draw_update
from stream.results import Update
from stream.service.camera import Camera
from stream.service.counts import Meter
from stream.service.privacy import blur

JPEG_QUALITY = 85


class Pictures:
    """The last picture that was drawn of each camera."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter, self._clock = meter, clock
        self._drawn: dict[str, tuple[Camera, float, bytes]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def jpeg(self, camera: Camera) -> bytes | None:
        """A camera's picture with what is known about it; None where it has or gives none.

        At most `display_fps` are drawn a second; who asks sooner gets the last one again.
        """
        with self._lock:
            lock = self._locks.setdefault(camera.name, threading.Lock())
        with lock:
            now_s = self._clock()
            drawn = self._drawn.get(camera.name)
            if drawn and drawn[0] is camera and now_s - drawn[1] < 1 / camera.settings.display_fps:
                return drawn[2]
            update = camera.look()
            if update is None or update.frame is None:
                self._drawn.pop(camera.name, None)
                return None
            image = draw(camera, update)
            packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
            self._drawn[camera.name] = (camera, now_s, packed)
            camera.counts.showed(now_s)
            self._meter.delay(camera.name, "drawing", self._clock() - now_s)
            return packed

    def forget(self, name: str) -> None:
        """A camera is gone."""
        with self._lock:
            self._drawn.pop(name, None)
            self._locks.pop(name, None)


def draw(camera: Camera, update: Update) -> np.ndarray:
    """A camera's picture as others may see it: blurred as its settings say, with people and their actions."""
    assert update.frame is not None
    hidden = blur(update.frame.image, update.boxes, camera.settings.blur)
    if hidden is not update.frame.image:
        update = replace(update, frame=replace(update.frame, image=hidden))
    return draw_update(update, camera.thresholds(), actions_shown=camera.actions(), status_line=False)
