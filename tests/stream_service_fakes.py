"""Stand-ins for the service: cameras on lists of frames, a shared model of fakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from stream_fakes import FakeTracker, fake_session

from detector.types import Frame
from stream.service.camera import Camera
from stream.service.settings import Camera as Settings
from stream.service.sharing import Sharing
from stream.sources import SourceStatus

BOUND_S = 20.0


def wait_until(holds: Callable[[], bool], what: str = "") -> None:
    """Wait for something that other threads bring about, within a bound."""
    give_up_s = time.monotonic() + BOUND_S
    while not holds():
        assert time.monotonic() < give_up_s, f"did not come about: {what}"
        time.sleep(0.005)


def settings(source: str = "x", **changes) -> Settings:
    """A camera's settings that look at everything, often."""
    return Settings.model_validate({"source": source, "every": 0.02, "motion": {"gate": False}} | changes)


class FakeCamera:
    """A source that is fed by hand: `show` a picture, `fail` or `end` it."""

    live, fps = True, None

    def __init__(self, size_hw: tuple[int, int] = (48, 64)) -> None:
        self.name, self.status, self.size_hw = "fake", SourceStatus(), size_hw
        self._changed = threading.Condition()
        self._frames: list[Frame | BaseException | None] = []
        self._count, self.time_s, self.closed = 0, 0.0, False

    def show(self, pictures: int = 1, grey: int = 100, step_s: float = 0.1) -> None:
        """Give pictures, each `step_s` after the one before."""
        with self._changed:
            for _ in range(pictures):
                self.time_s += step_s
                image = np.full((*self.size_hw, 3), grey, np.uint8)
                self._frames.append(Frame(image, self._count, self.time_s, time.monotonic()))
                self._count += 1
            self._changed.notify_all()

    def fail(self, error: BaseException | None) -> None:
        """Raise an error where the next picture would be; None ends the stream."""
        with self._changed:
            self._frames.append(error)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self.closed)
                if self.closed:
                    return
                frame = self._frames.pop(0)
            if frame is None:
                return
            if isinstance(frame, BaseException):
                raise frame
            yield frame

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class House:
    """Cameras on fakes that share one fake model; use as a context."""

    def __init__(self, detector=None, engine=None, **model) -> None:
        self.session, self.detector, self.engine = fake_session(detector, engine, **model)
        self.sharing = Sharing(open_model=lambda model, detector: self.session, on_gpu=False)
        self.answers: list[tuple[str, object]] = []
        self.cameras: dict[str, Camera] = {}
        self.sources: dict[str, list[FakeCamera]] = {}

    def camera(self, name: str, given: Settings | None = None, start: bool = True, **changes) -> Camera:
        """A camera that runs; each time its source is opened a new `FakeCamera` is appended to `sources[name]`."""
        self.sources.setdefault(name, [])

        def open_source(_: Settings, keys_only: Callable[[], bool]) -> FakeCamera:
            self.sources[name].append(FakeCamera())
            return self.sources[name][-1]

        values = {
            "open_source": open_source, "create_tracker": FakeTracker, "wake": self.sharing.wake,
            "on_answer": lambda name, result: self.answers.append((name, result)),
            "open_session": lambda: self.sharing.join(made),
        }
        made = Camera(name, given or settings(), **(values | changes))
        self.cameras[name] = made
        if start:
            made.start()
        return made

    def source(self, name: str, number: int = 0) -> FakeCamera:
        """The camera's source, when it is open."""
        wait_until(lambda: len(self.sources.get(name, [])) > number, f"{name} opens its source")
        return self.sources[name][number]

    def answers_of(self, name: str) -> list:
        """What was answered for a camera."""
        return [result for camera, result in list(self.answers) if camera == name]

    def __enter__(self) -> House:
        return self

    def __exit__(self, *exception: object) -> None:
        for camera in self.cameras.values():
            camera.stop()
            self.sharing.leave(camera)
        ended = [camera.join(BOUND_S) for camera in self.cameras.values()]
        assert self.sharing.close(BOUND_S)
        assert all(ended)
