"""`--check`: every camera is tried for five seconds, all at the same time, and what comes is said in a line each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from detector.errors import UserError
from stream.service.reading import Described
from stream.service.settings import Camera as Settings
from stream.sources import Source

TRY_S = 5.0


@dataclass
class Tried:
    """What came of one camera.

    Attributes:
        name: of the camera.
        pictures: that came.
        size_hw: of the last one.
        problem: why none came.
    """

    name: str
    pictures: int = 0
    size_hw: tuple[int, int] = (0, 0)
    problem: str = ""

    def line(self, seconds: float) -> str:
        """For people."""
        if self.pictures:
            h, w = self.size_hw
            return f"{self.name}: {self.pictures} pictures of {w}x{h} in {seconds:g} s"
        return f"{self.name}: {self.problem or f'no picture in {seconds:g} s'}"


def try_cameras(described: Described, open_camera: Callable[[Settings], Source], seconds: float = TRY_S) -> list[Tried]:
    """Open each camera that is enabled and count its pictures; those that hang are left behind."""
    tries = [Tried(name) for name, settings in described.file.cameras.items() if settings.enabled]
    threads = [
        threading.Thread(
            target=_try, args=(described.file.cameras[tried.name], tried, open_camera, seconds), daemon=True,
            name=f"check {tried.name}",
        )
        for tried in tries
    ]
    for thread in threads:
        thread.start()
    give_up_s = time.monotonic() + seconds + 10.0
    for thread in threads:
        thread.join(max(give_up_s - time.monotonic(), 0.0))
    return tries


def _try(settings: Settings, tried: Tried, open_camera: Callable[[Settings], Source], seconds: float) -> None:
    try:
        source = open_camera(settings)
    except UserError as error:
        tried.problem = str(error).splitlines()[0]
        return
    alarm = threading.Timer(seconds, source.close)
    alarm.daemon = True
    alarm.start()
    try:
        for frame in source:
            tried.pictures, tried.size_hw = tried.pictures + 1, frame.size_hw
    except Exception as error:
        tried.problem = f"{type(error).__name__}: {error}"
    finally:
        alarm.cancel()
        if not tried.pictures:
            tried.problem = tried.problem or source.status.message
        source.close()
