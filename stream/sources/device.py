"""Cameras of this machine, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.errors import UserError
from stream.sources.decode import ConnectionLost, sane_fps
from stream.sources.reconnect import LiveCamera
from stream.sources.source import Source


class Device:
    """A camera of this machine, through OpenCV."""

    def __init__(self, spec: str) -> None:
        """
        Args:
            spec: its number, or its path under /dev.

        Raises:
            UserError: none there, in use, or not allowed.
        """
        self._name = spec
        path = Path(f"/dev/video{spec}") if spec.isdigit() else Path(spec)
        if path.parent == Path("/dev") and Path("/dev").exists() and not path.exists():
            there = sorted(str(p) for p in Path("/dev").glob("video*"))
            has = ", ".join(there) if there else "no camera; try --source sample"
            raise UserError(f"camera {spec}: there is no {path}; this machine has {has}")
        level = cv2.utils.logging.getLogLevel() if hasattr(cv2, "utils") else None
        if level is not None:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(int(spec) if spec.isdigit() else spec)
        finally:
            if level is not None:
                cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise UserError(f"camera {spec}: cannot be opened; is another program using it, may this user read it?")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.fps = sane_fps(self._capture.get(cv2.CAP_PROP_FPS))

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        while True:
            ok, image = self._capture.read()
            if not ok or image is None:
                raise ConnectionLost(f"camera {self._name}: gave no picture")
            yield image, None

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


def open_camera(spec: str, **changes: Any) -> Source:
    """A camera of this machine by number or path.

    Raises:
        UserError: it cannot be opened.
    """
    return LiveCamera(f"camera {spec}", lambda: Device(spec), **changes)
