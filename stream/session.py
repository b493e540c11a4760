"""What streams share: one person detector and one action engine, each in a thread of its own.

A `Session` is built once; any number of pipelines (a command line has one, a browser demo one per visitor) send
it work. Engines load, run and free in one thread, and that thread runs at low priority, so that a machine with
few cores keeps drawing at camera rate while the network computes. Threads that the runtime starts (TBB, OpenMP)
inherit that priority on Linux.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, get_args

import numpy as np

from detector.errors import UserError
from detector.person import PersonDetector
from detector.tracking import import_package
from detector.types import Boxes, Clip
from detector.views import FrameView, TubeView
from detector.weights.records import ActionModel
from engine_build.engine import Engine, prepare
from stream.geometry import fit_short_side
from stream.handoff import Closed, Handoff
from stream.people import accelerated
from stream.session_options import check_name
from stream.step_batches import Scored, StepBatches

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
        people: Session | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start the two threads; nothing is built before it is needed.

        Args:
            model: the action model's record.
            create_detector: called once, in the detector's thread.
            build_engine: called with (h, w) of the frames or tubes, in the engine's thread, once per size.
            untrained: the weights are random.
            notices: lines for the user.
            people: whose detector is used instead of an own one; must be closed later than this.
            clock: for durations.
        """
        self.model, self.untrained, self.notices = model, untrained, notices
        self._create_detector, self._build_engine, self._clock = create_detector, build_engine, clock
        self._people = people
        self._detector: PersonDetector | None = None
        self._forks: weakref.WeakKeyDictionary[object, PersonDetector] = weakref.WeakKeyDictionary()
        self._engines: dict[tuple[int, int], Engine] = {}
        self._sizes: list[tuple[int, int]] = []
        self._person_threshold: float | None = None
        self._lock = threading.Lock()
        self._steps = StepBatches(self._engine_for, clock)  # type: ignore[arg-type]
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
        if self._people is not None:
            return self._people.detector_name
        return self._detector.name if self._detector else ""

    def set_person_threshold(self, threshold: float) -> None:
        """Change the confidence over which a box is a person, from the next detection on."""
        if self._people is not None:
            self._people.set_person_threshold(threshold)
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

    def has_room_for(self, source_hw: tuple[int, int]) -> bool:
        """Whether `frame_size` is that of the source alone, and not that of an earlier one as well."""
        wanted = fit_short_side(source_hw, self.model.view.short_side_px)
        with self._lock:
            return isinstance(self.model.view, TubeView) or wanted in self._sizes or len(self._sizes) < MAX_ENGINES

    def load_detector(self) -> PersonDetector:
        """Load the person detector in its thread, and wait for it."""
        return self._load_detector().result()

    def wrap_detector(self, wrap: Callable[[PersonDetector], PersonDetector]) -> None:
        """Put something round the person detector, in its thread, before any stream uses it."""
        def job() -> None:
            self._detector = wrap(self._get_detector())
            self._forks.clear()

        self._detector_worker.submit(job).result()

    def prepare(self, source_hw: tuple[int, int]) -> Future[None]:
        """Load the detector and build the engine for a source of that size now; the future ends when both are."""
        size_hw = self.frame_size(source_hw)
        loaded = self._load_detector()

        def build() -> None:
            self._engine_for(size_hw)
            loaded.result()

        return self._engine_worker.submit(build)

    def detect(
        self, image: np.ndarray, stream: object, known: np.ndarray | None = None
    ) -> Future[tuple[Boxes, float]]:
        """Find people in a (H, W, 3) uint8 BGR picture; the future holds boxes and seconds.

        What the detector remembers of earlier pictures is kept apart for each `stream`, any object, while it lives.
        With (N, 4) boxes of people who are `known` to be there it may look only at them, and elsewhere by turns.
        """
        if self._people is not None:
            return self._people.detect(image, stream, known)

        def job() -> tuple[Boxes, float]:
            detector = self._forks.get(stream)
            if detector is None:
                detector = self._forks[stream] = self._get_detector().fork()
            if self._person_threshold is not None:
                detector.threshold = self._person_threshold
            start = self._clock()
            look_again = getattr(detector, "look_again", None)
            if known is None or look_again is None:
                boxes = detector.detect(image)
            else:
                boxes = look_again(image, known)
            return boxes, self._clock() - start

        return self._detector_worker.submit(job)

    def score(self, clip: Clip, boxes: Boxes) -> Future[Scored]:
        """Score N people of a clip's key frame; boxes are pixels of `clip.key_frame`."""
        return self._engine_worker.submit(lambda: self._score_all([(clip, boxes)])[0])

    def score_all(self, work: Sequence[tuple[Clip, Boxes]]) -> Future[list[Scored]]:
        """Score the people of several clips, those of one size in one call; the seconds of each are those of all."""
        return self._engine_worker.submit(lambda: self._score_all(work))

    def score_step(self, stream: object, frames: np.ndarray, boxes: np.ndarray, restart: bool) -> Future[Scored]:
        """Run a step of a causal model for one stream, with those of other streams that wait; see `StepBatches.add`."""
        future = self._steps.add(stream, frames, boxes, restart)
        self._engine_worker.submit(self._steps.run)
        return future

    def leave(self, stream: object) -> None:
        """A stream has ended: what the network remembers of it may go."""
        with contextlib.suppress(Closed):
            self._engine_worker.submit(lambda: self._steps.leave(stream))

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

    def _load_detector(self) -> Future[PersonDetector]:
        if self._people is not None:
            return self._people._load_detector()
        return self._detector_worker.submit(self._get_detector)

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

    def _score_all(self, work: Sequence[tuple[Clip, Boxes]]) -> list[Scored]:
        nobody = Scored(np.zeros((0, len(self.model.labels)), np.float32), 0.0)
        scored = [nobody] * len(work)
        frames_alike = isinstance(self.model.view, FrameView)
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, (clip, boxes) in enumerate(work):
            if len(boxes):
                # Tubes are of one size, whatever they are cut from.
                by_size.setdefault(clip.size_hw if frames_alike else (0, 0), []).append(i)
        for members in by_size.values():
            engine = self._engine_for(work[members[0]][0].size_hw)
            start = self._clock()
            prepared = [prepare(engine, self.model.view, *work[i]) for i in members]
            scores = _run_batch(engine, prepared, None if frames_alike else TUBES_AT_ONCE)
            seconds = self._clock() - start
            ends = np.cumsum([len(rois) for _, rois in prepared])[:-1]
            for i, rows in zip(members, np.split(scores, ends)):
                scored[i] = Scored(rows, seconds)
        return scored

    def _free_engines(self) -> None:
        self._steps.clear()
        while self._engines:
            self._engines.popitem()[1].close()

    def _free_detector(self) -> None:
        self._forks.clear()
        if self._detector is not None:
            self._detector.close()
            self._detector = None


def _run_batch(
    engine: Engine, prepared: list[tuple[Any, np.ndarray]], most: int | None
) -> np.ndarray:
    """Scores (N, A) of what a view prepared for several clips; at most so many frames or tubes in a call."""
    firsts = np.cumsum([0, *(len(frames) for frames, _ in prepared)])
    frames = _joined([frames for frames, _ in prepared])
    rois = np.concatenate([rows for _, rows in prepared]).astype(np.float32)
    rois[:, 0] += np.repeat(firsts[:-1], [len(rows) for _, rows in prepared])
    parts = []
    for first in range(0, len(frames), most or len(frames)):
        last = first + (most or len(frames))
        rows = rois[(rois[:, 0] >= first) & (rois[:, 0] < last)]
        rows[:, 0] -= first
        parts.append(engine.run_head(engine.run_trunk(frames[first:last]), rows))
    return np.asarray(np.concatenate(parts), np.float32)


def _joined(parts: list[Any]) -> Any:
    """Frames of several clips as one batch, where they are: in numpy's memory or on the engine's device."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def open_session(
    model: str = "auto",
    detector: str | Callable[[], PersonDetector] | Session = "auto",
    *,
    engine: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    person_threshold: float | None = None,
    untrained: bool = False,
    causal: bool = False,
    report: Callable[[str], None] = print,
) -> Session:
    """Choose the model, read its weights and get ready to build what a stream needs.

    Args:
        model: a model's name, a weights file, or `auto` (the best that is here; never downloads).
        detector: a person detector's name, or `auto`; or what creates one; or a session whose detector is shared.
        engine: what runs the network: `auto`, `openvino`, `torch`, `tensorrt`, ...
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`.
        device: of the detector: `auto`, `cpu` or `cuda`.
        person_threshold: confidence over which a box is a person; None for the detector's own.
        untrained: allow random action weights when there are no others.
        causal: run the model as one that looks back only; one that was trained so runs like that anyway.
        report: takes lines about what is being built.

    Raises:
        UserError: no such model or weights; the line says how to get some.
    """
    from detector.person.select import create_person_detector
    from detector.weights.choose import resolve_action_model
    from engine_build.build import Precision, Target
    from engine_build.stored_network import StoredNetwork

    check_name("--engine", engine, get_args(Target))
    check_name("--precision", precision, get_args(Precision))
    record, path = resolve_action_model(model, allow_untrained=untrained)
    record = record.as_causal() if causal else record
    chosen: dict[str, Any] = {"target": engine, "precision": precision}
    stored = StoredNetwork(record, path)
    apart = stored.facts().parameters >= BUILT_APART_PARAMETERS  # a file that will not do is found out now
    network = stored.load() if record.network.causal else stored

    make, is_made = builders(record)

    def build(size_hw: tuple[int, int]) -> Engine:
        if apart and not is_made(record, network, size_hw=size_hw, **chosen):
            build_apart(model, size_hw, engine, precision, untrained, report, causal)
        return make(record, network, size_hw=size_hw, report=report, **chosen)

    def create() -> PersonDetector:
        if callable(detector):
            return detector()
        assert isinstance(detector, str)
        return accelerated(create_person_detector(detector, threshold=person_threshold, device=device), report)

    session = Session(
        record, create_detector=create, build_engine=build, untrained=path is None,
        people=detector if isinstance(detector, Session) else None,
    )
    threading.Thread(target=import_package, name="import", daemon=True).start()
    try:
        people = session.load_detector()
    except BaseException:
        session.close()
        raise
    accuracy = f" ({record.accuracy})" if record.accuracy else ""
    what = "random weights: scores mean nothing" if session.untrained else record.name + accuracy
    experimental = f"experimental: {record.notes}; look-ahead 0" if record.experimental else ""
    lines = (f"actions: {what}", experimental, getattr(people, "notice", ""))
    session.notices = tuple(line for line in lines if line)
    return session


def builders(model: ActionModel) -> tuple[Callable[..., Any], Callable[..., bool]]:
    """What builds a model's engine, and what says whether that would be quick: of clips, or of steps."""
    if model.network.causal:
        from engine_build.build_causal import build_causal_engine, is_step_built

        return build_causal_engine, is_step_built
    from engine_build.build import build_engine, is_built

    return build_engine, is_built


def build_apart(
    model: str, size_hw: tuple[int, int], engine: str, precision: str, untrained: bool, report: Callable[[str], None],
    causal: bool = False,
) -> bool:
    """Build an engine into the cache in a process of its own; arguments as for `open_session`.

    What building leaves behind in a process, some 5 % of its memory, does not stay in one that runs for days.

    Returns:
        Whether it went well. Where not, nothing is lost: who builds next tells why.

    Raises:
        UserError: a Ctrl-C ended it, which this process has got as well.
    """
    arguments = json.dumps([model, list(size_hw), engine, precision, untrained, causal])
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
    from detector.weights.choose import load_action_model, resolve_action_model

    model, size_hw, engine, precision, untrained, causal = json.loads(sys.argv[1])
    record, path = resolve_action_model(model, allow_untrained=untrained)
    record = record.as_causal() if causal else record
    builders(record)[0](
        record, load_action_model(record, path), size_hw=tuple(size_hw), target=engine, precision=precision,
        report=lambda line: print(line, flush=True),
    ).close()
