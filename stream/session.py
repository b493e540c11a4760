"""What streams share: one person detector and one action engine, each in a thread of its own.

A `Session` is built once; any number of pipelines (a command line has one, a browser demo one per visitor) send
it work. Engines load, run and free in one thread, and that thread runs at low priority, so that a machine with
few cores keeps drawing at camera rate while the network computes. Threads that the runtime starts (TBB, OpenMP)
inherit that priority on Linux.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import numpy as np

from detector.errors import UserError
from detector.models import ActionModel
from detector.person import PersonDetector
from detector.types import Boxes, Clip
from detector.views import FrameView, TubeView
from engine_build.engine import Engine, prepare
from stream.geometry import fit_short_side
from stream.handoff import Closed, Handoff

log = logging.getLogger(__name__)
R = TypeVar("R")

# Niceness (0 normal, 19 lowest) of both workers; capture, drawing and writing stay at 0. It is the same for both,
# because OpenVINO's threads serve detector and network alike and keep the niceness of whoever started them.
# At 10 another busy program takes all but a tenth of a core from them: one search took 6 s.
WORKER_NICE = 5
# People that a tube network is given at once; more go in turns, so that memory stays bounded in a crowd.
TUBES_AT_ONCE = 8
# Networks of so many parameters and more are built in a process of their own.
BUILT_APART_PARAMETERS = 10_000_000
# Frame sizes that an engine is built for; a stream of yet another size is fitted into the closest of them.
MAX_ENGINES = 2


class Worker:
    """One thread that runs what it is given, in order, and hands back futures."""

    def __init__(self, name: str, nice: int = 0) -> None:
        self._jobs: Handoff[tuple[Callable[[], Any], Future]] = Handoff(1_000_000)
        self._nice = nice
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], R]) -> Future[R]:
        """Run `job()` after what was submitted before.

        Raises:
            Closed: the worker is closed.
        """
        future: Future[R] = Future()
        self._jobs.put((job, future))
        return future

    def close(self, timeout_s: float = 5.0) -> bool:
        """Run what was submitted, then end; True if the thread ended in time."""
        self._jobs.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        _set_niceness(self._nice)
        while True:
            try:
                job, future = self._jobs.get()
            except Closed:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del job, future  # a waiting worker must not keep the last picture alive


def _set_niceness(nice: int) -> None:
    if nice and hasattr(os, "setpriority"):
        try:
            # On Linux a thread id is enough to set the niceness of that thread alone.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        except OSError as error:
            log.warning("cannot lower the priority of %s: %s", threading.current_thread().name, error.strerror)


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """(N, A) float32 scores and the seconds that the engine took for them."""

    scores: np.ndarray
    engine_s: float


class Session:
    """A detector, a model and its engines, shared by pipelines.

    Attributes:
        model: the action model's record.
        untrained: its weights are random.
        notices: lines that a person should read once: which weights are used, how to get better ones.
    """

    def __init__(
        self,
        model: ActionModel,
        *,
        create_detector: Callable[[], PersonDetector],
        build_engine: Callable[[tuple[int, int]], Engine],
        untrained: bool = False,
        notices: tuple[str, ...] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start the two threads; nothing is built before it is needed.

        Args:
            model: the action model's record.
            create_detector: called once, in the detector's thread.
            build_engine: called with (h, w) of the frames or tubes, in the engine's thread, once per size.
            untrained: the weights are random.
            notices: lines for the user.
            clock: for durations.
        """
        self.model, self.untrained, self.notices = model, untrained, notices
        self._create_detector, self._build_engine, self._clock = create_detector, build_engine, clock
        self._detector: PersonDetector | None = None
        self._forks: weakref.WeakKeyDictionary[object, PersonDetector] = weakref.WeakKeyDictionary()
        self._engines: dict[tuple[int, int], Engine] = {}
        self._sizes: list[tuple[int, int]] = []
        self._person_threshold: float | None = None
        self._lock = threading.Lock()
        self._detector_worker = Worker("detector", WORKER_NICE)
        self._engine_worker = Worker("engine", WORKER_NICE)

    @property
    def engine_name(self) -> str:
        """What runs the network: `openvino bf16`; "" before it is built."""
        engines = list(self._engines.values())
        return engines[0].description if engines else ""

    @property
    def detector_name(self) -> str:
        """What finds people; "" before it is loaded."""
        return self._detector.name if self._detector else ""

    def set_person_threshold(self, threshold: float) -> None:
        """Change the confidence over which a box is a person, from the next detection on."""
        self._person_threshold = threshold

    def frame_size(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a source's frames shall have in the ring.

        The short side is what the model's view wants. With a whole-frame view an engine belongs to one size; once
        there are `MAX_ENGINES` of them, further streams are fitted (with a border) into the closest.
        """
        wanted = fit_short_side(source_hw, self.model.view.short_side_px)
        if isinstance(self.model.view, TubeView):
            return wanted
        with self._lock:
            if wanted not in self._sizes:
                if len(self._sizes) >= MAX_ENGINES:
                    aspect = wanted[1] / wanted[0]
                    return min(self._sizes, key=lambda hw: abs(np.log(hw[1] / hw[0] / aspect)))
                self._sizes.append(wanted)
            return wanted

    def load_detector(self) -> PersonDetector:
        """Load the person detector in its thread, and wait for it."""
        return self._detector_worker.submit(self._get_detector).result()

    def wrap_detector(self, wrap: Callable[[PersonDetector], PersonDetector]) -> None:
        """Put something round the person detector, in its thread, before any stream uses it."""
        def job() -> None:
            self._detector = wrap(self._get_detector())
            self._forks.clear()

        self._detector_worker.submit(job).result()

    def prepare(self, source_hw: tuple[int, int]) -> Future[None]:
        """Load the detector and build the engine for a source of that size now; the future ends when both are."""
        size_hw = self.frame_size(source_hw)
        loaded = self._detector_worker.submit(self._get_detector)

        def build() -> None:
            self._engine_for(size_hw)
            loaded.result()

        return self._engine_worker.submit(build)

    def detect(self, image: np.ndarray, stream: object) -> Future[tuple[Boxes, float]]:
        """Find people in a (H, W, 3) uint8 BGR picture; the future holds boxes and seconds.

        What the detector remembers of earlier pictures is kept apart for each `stream`, any object, while it lives.
        """

        def job() -> tuple[Boxes, float]:
            detector = self._forks.get(stream)
            if detector is None:
                detector = self._forks[stream] = self._get_detector().fork()
            if self._person_threshold is not None:
                detector.threshold = self._person_threshold
            start = self._clock()
            boxes = detector.detect(image)
            return boxes, self._clock() - start

        return self._detector_worker.submit(job)

    def score(self, clip: Clip, boxes: Boxes) -> Future[Scored]:
        """Score N people of a clip's key frame; boxes are pixels of `clip.key_frame`."""
        return self._engine_worker.submit(lambda: self._score(clip, boxes))

    def close(self, timeout_s: float = 10.0) -> bool:
        """Free detector and engines in their threads and end both; True if they ended in time. May be called twice."""
        ended = True
        for worker, free in (
            (self._engine_worker, self._free_engines),
            (self._detector_worker, self._free_detector),
        ):
            try:
                worker.submit(free)
            except Closed:
                continue
            ended = worker.close(timeout_s) and ended
        return ended

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _get_detector(self) -> PersonDetector:
        if self._detector is None:
            self._detector = self._create_detector()
        return self._detector

    def _engine_for(self, size_hw: tuple[int, int]) -> Engine:
        view = self.model.view
        key = (view.size_px, view.size_px) if isinstance(view, TubeView) else size_hw
        if key not in self._engines:
            self._engines[key] = self._build_engine(key)
        return self._engines[key]

    def _score(self, clip: Clip, boxes: Boxes) -> Scored:
        engine = self._engine_for(clip.size_hw)
        start = self._clock()
        if not len(boxes):
            return Scored(np.zeros((0, len(self.model.labels)), np.float32), 0.0)
        frames, rois = prepare(engine, self.model.view, clip, boxes)
        if isinstance(self.model.view, FrameView):
            scores = engine.run_head(engine.run_trunk(frames), rois)
        else:
            parts = []
            for first in range(0, len(frames), TUBES_AT_ONCE):
                rows = rois[first:first + TUBES_AT_ONCE].copy()
                rows[:, 0] -= first
                parts.append(engine.run_head(engine.run_trunk(frames[first:first + TUBES_AT_ONCE]), rows))
            scores = np.concatenate(parts)
        return Scored(np.asarray(scores, np.float32), self._clock() - start)

    def _free_engines(self) -> None:
        while self._engines:
            self._engines.popitem()[1].close()

    def _free_detector(self) -> None:
        self._forks.clear()
        if self._detector is not None:
            self._detector.close()
            self._detector = None


def open_session(
    model: str = "auto",
    detector: str = "auto",
    *,
    engine: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    person_threshold: float | None = None,
    untrained: bool = False,
    report: Callable[[str], None] = print,
) -> Session:
    """Choose the model, read its weights and get ready to build what a stream needs.

    Args:
        model: a model's name, a weights file, or `auto` (the best that is here; never downloads).
        detector: a person detector's name, or `auto`.
        engine: what runs the network: `auto`, `openvino`, `torch`, `tensorrt`, ...
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`.
        device: of the detector: `auto`, `cpu` or `cuda`.
        person_threshold: confidence over which a box is a person; None for the detector's own.
        untrained: allow random action weights when there are no others.
        report: takes lines about what is being built.

    Raises:
        UserError: no such model or weights; the line says how to get some.
    """
    from detector.person.select import create_person_detector
    from detector.weights import load_action_model, resolve_action_model
    from engine_build.build import Precision, Target, build_engine, is_built
    from engine_build.person import accelerate

    _check_name("--engine", engine, get_args(Target))
    _check_name("--precision", precision, get_args(Precision))
    record, path = resolve_action_model(model, allow_untrained=untrained)
    network = load_action_model(record, path)
    chosen: dict[str, Any] = {"target": engine, "precision": precision}
    apart = sum(p.numel() for p in network.parameters()) >= BUILT_APART_PARAMETERS

    def build(size_hw: tuple[int, int]) -> Engine:
        if apart and not is_built(record, network, size_hw=size_hw, **chosen):
            build_apart(model, size_hw, engine, precision, untrained, report)
        return build_engine(record, network, size_hw=size_hw, report=report, **chosen)

    session = Session(
        record,
        create_detector=lambda: accelerate(
            create_person_detector(detector, threshold=person_threshold, device=device), report
        ),
        build_engine=build,
        untrained=path is None,
    )
    try:
        people = session.load_detector()
    except BaseException:
        session.close()
        raise
    accuracy = f" ({record.accuracy})" if record.accuracy else ""
    what = "random weights: scores mean nothing" if session.untrained else record.name + accuracy
    session.notices = tuple(line for line in (f"actions: {what}", getattr(people, "notice", "")) if line)
    return session


def build_apart(
    model: str, size_hw: tuple[int, int], engine: str, precision: str, untrained: bool, report: Callable[[str], None]
) -> bool:
    """Build an engine into the cache in a process of its own; arguments as for `open_session`.

    What building leaves behind in a process, some 5 % of its memory, does not stay in one that runs for days.

    Returns:
        Whether it went well. Where not, nothing is lost: who builds next tells why.

    Raises:
        UserError: a Ctrl-C ended it, which this process has got as well.
    """
    arguments = json.dumps([model, list(size_hw), engine, precision, untrained])
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "from stream.session import _build_only; _build_only()"
    )
    command = [sys.executable, "-c", program, arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            report(line.rstrip("\n"))
    if child.returncode in (-signal.SIGINT, 130):
        raise UserError("stopped while an engine was being built; it will be built again")
    return child.returncode == 0


def _build_only() -> None:
    """The other side of `build_apart`."""
    from detector.weights import load_action_model, resolve_action_model
    from engine_build.build import build_engine

    model, size_hw, engine, precision, untrained = json.loads(sys.argv[1])
    record, path = resolve_action_model(model, allow_untrained=untrained)
    build_engine(
        record, load_action_model(record, path), size_hw=tuple(size_hw), target=engine, precision=precision,
        report=lambda line: print(line, flush=True),
    ).close()


def _check_name(flag: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"{flag} {name}: unknown, expected one of {', '.join(known)}")
