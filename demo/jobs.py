"""A video being analysed: progress, cancelling, and the files that come out. Who comes when is `job_line`'s."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from demo.choices import Choices
from demo.pool import ModelPool
from demo.shelf import Folder
from demo.timeline import Summary, summarise
from detector.errors import UserError
from detector.types import Boxes, Frame
from detector.weights.records import ActionModel
from stream.outputs.ava_csv import AvaCsv
from stream.outputs.film import Mp4Writer
from stream.outputs.json_lines import JsonLines
from stream.picture.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import KeyFrameResult, Status, SteadyRows, Update
from stream.session import Session
from stream.sources import Source, VideoFile
from stream.sources.decode import open_video

log = logging.getLogger(__name__)

# A 4K picture is 25 MB and a pipeline holds seconds of them; this is what a page shows anyway.
MAX_SIDE_PX = 1280
# A decoder holds up to some twenty pictures, and a small file can hold pictures of any size: 4096 x 4096 is the most.
MAX_FILE_SIDE_PX, MAX_PICTURE_PX = 8192, 4096 * 4096
# All pictures of a film together: what a film of the greatest length has in 4K at 30 pictures a second.
MAX_PX_PER_S = 3840 * 2160 * 30
# Beyond this many streams a file is not opened; the decoder itself refuses pictures that grow on the way.
OPEN_OPTIONS = {"max_pixels": str(MAX_PICTURE_PX), "max_streams": "32"}
VIDEO, JSONL, CSV, TABLE = "annotated.mp4", "actions.jsonl", "actions_ava.csv", "table.csv"

State = Literal["waiting", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of an upload before it is analysed; `duration_s` is None where the file does not say."""

    width: int
    height: int
    fps: float | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        state: waiting, running, done, cancelled or failed.
        fraction: 0 to 1; None where the length is not known.
        left_s: seconds to go, by what it took so far; None until that says something.
        ahead: jobs that come first.
        message: of a failure, for the visitor; or what is going on.
    """

    state: State
    fraction: float | None = 0.0
    left_s: float | None = None
    ahead: int = 0
    message: str = ""


def inspect_video(path: Path, shown_name: str, max_duration_s: float) -> VideoInfo:
    """Check that a file is a video that can be worked on: open it and decode its first picture.

    Sizes, length and number of pictures are checked by what the file says, before anything is decoded; what it does
    not say truly ends the analysis later.

    Raises:
        UserError: it is not, is damaged, has too large or too many pictures or is too long.
    """
    with open_video(path, shown_name=shown_name, options=OPEN_OPTIONS) as video:
        _check_size(shown_name, video.coded_hw, video.pixel_shape)
        if video.duration_s is not None and video.duration_s > max_duration_s:
            raise UserError(
                f"{shown_name}: {minutes_text(video.duration_s)} long, expected at most "
                f"{minutes_text(max_duration_s)}; cut out the part that matters"
            )
        if video.duration_s is not None and video.rate_fps is not None:
            height, width = video.coded_hw
            _check_sum(shown_name, height * width * video.rate_fps * video.duration_s, max_duration_s)
        first = next(iter(video), None)
        if first is None:
            raise UserError(f"{shown_name}: none of its pictures can be decoded; is the file damaged?")
        height, width = first[0].shape[:2]
        return VideoInfo(width, height, video.fps, video.duration_s)


def _check_size(shown_name: str, size_hw: tuple[int, int], pixel_shape: float = 1.0) -> None:
    height, width = size_hw
    stretched = max(pixel_shape, 1 / pixel_shape)
    if max(width, height) > MAX_FILE_SIDE_PX or width * height * stretched > MAX_PICTURE_PX:
        shape = f" (pixels of shape {pixel_shape:.2g})" if stretched > 1.01 else ""
        raise UserError(
            f"{shown_name}: pictures of {width}x{height}{shape}, expected at most {MAX_PICTURE_PX / 1e6:.0f} million "
            f"pixels and {MAX_FILE_SIDE_PX} a side; save it smaller"
        )


def _check_sum(shown_name: str, pixels: float, max_duration_s: float) -> None:
    limit = MAX_PX_PER_S * max_duration_s
    if pixels > limit:
        raise UserError(
            f"{shown_name}: {pixels / 1e9:.3g} billion pixels in all its pictures, expected at most "
            f"{limit / 1e9:.3g} billion; cut out the part that matters or save it smaller"
        )


def minutes_text(seconds: float) -> str:
    """`10 min`, `1 min 05 s`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return " ".join([f"{minutes} min"] * (minutes > 0) + [f"{rest:02d} s" if minutes else f"{rest} s"] * (rest > 0))


class ShrunkSource:
    """Another source with its pictures made smaller, and an end to its patience: in time and in pixels."""

    live = False

    def __init__(self, inner: VideoFile, max_side_px: int, max_duration_s: float) -> None:
        self._inner, self._max_side_px, self._max_duration_s = inner, max_side_px, max_duration_s
        self.name, self.fps, self.status = inner.name, inner.fps, inner.status

    def __iter__(self) -> Iterator[Frame]:
        pixels = 0
        for frame in self._inner:
            pixels += frame.size_hw[0] * frame.size_hw[1]
            _check_sum(self.name, pixels, self._max_duration_s)
            if frame.time_s > self._max_duration_s:
                limit = minutes_text(self._max_duration_s)
                raise UserError(f"{self.name}: longer than {limit}, which is the limit here")
            scale = self._max_side_px / max(frame.size_hw)
            if scale < 1:
                small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                frame = replace(frame, image=small)
            yield frame

    def close(self) -> None:
        """Make the iterator end soon."""
        self._inner.close()


@dataclass(frozen=True, eq=False, slots=True)
class _Shown:
    """What was known at one picture of the film, for drawing it again."""

    boxes: Boxes
    scores: np.ndarray
    steady: SteadyRows | None


class Job:
    """One video: analysed in a thread of `job_line.Jobs`, watched from outside.

    Attributes:
        folder, choices: as given.
        path: of the video.
        summary: once it is done.
    """

    def __init__(
        self, path: Path, folder: Folder, choices: Choices, max_duration_s: float,
        clock: Callable[[], float] = time.monotonic, before: Job | None = None,
    ) -> None:
        """
        Args:
            path: of the video.
            folder: results go here; it names the visitor and the page.
            choices: of the visitor.
            max_duration_s: of the video.
            clock: seconds, monotonic.
            before: of the same video, done with other choices; its answers are used where they suffice.
        """
        self.folder, self.choices, self.path = folder, choices, path
        self.summary: Summary | None = None
        self._model: ActionModel | None = None
        self._untrained = False
        self._results: list[KeyFrameResult] = []
        self._pictures: list[_Shown] = []
        self._before = before if before is not None and before.serves(choices) else None
        self._max_duration_s, self._clock = max_duration_s, clock
        self._state: State = "waiting"
        self._message = ""
        self._stop = threading.Event()
        self._pipeline: Pipeline | None = None
        self._first = (0.0, 1.0)
        self._done_s, self._duration_s = 0.0, 0.0

    @property
    def model(self) -> ActionModel | None:
        """Whose answers these are; None before it is opened."""
        return self._model

    @property
    def state(self) -> State:
        """waiting, running, done, cancelled or failed."""
        return self._state

    def serves(self, choices: Choices) -> bool:
        """Whether its answers are enough for other choices: of the same model, and no person was left out."""
        return (
            self._state == "done" and choices.model == self.choices.model
            and choices.person_threshold >= self.choices.person_threshold
        )

    def progress(self, ahead: int = 0) -> Progress:
        """How far it is; `ahead` jobs come first."""
        if self._state != "running":
            return Progress(self._state, 1.0 if self._state == "done" else 0.0, None, ahead, self._message)
        pipeline = self._pipeline
        message = pipeline.status.message if pipeline is not None else "reading the model"
        if not self._duration_s:
            return Progress("running", None, None, 0, message)
        fraction = min(self._done_s / self._duration_s, 1.0)
        # Counted from the first picture: before it, engines may have been built, which is done once.
        (first_s, first_fraction), left_s = self._first, None
        if fraction - first_fraction >= 0.03:
            left_s = (self._clock() - first_s) * (1 - fraction) / (fraction - first_fraction)
        return Progress("running", fraction, left_s, 0, message)

    def cancel(self) -> None:
        """End it soon and throw away what it made; from any thread, may be called twice."""
        self._stop.set()
        if self._state == "waiting":
            self._state = "cancelled"
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.close(timeout_s=0.0)

    def run(self, pool: ModelPool) -> None:
        """Do the work; never raises, the state says how it went."""
        if self._stop.is_set():
            self._state = "cancelled"
            return
        self._state = "running"
        ended: State = "failed"
        try:
            self._analyse(pool)
            ended = "done"
        except UserError as error:
            self._message = str(error)
        except Exception:
            log.exception("a video could not be analysed")
            self._message = "the server ran into an error while analysing; its log says more"
        if self._stop.is_set():
            ended = "cancelled"
        if ended != "done":
            self._throw_away()
        self._before = None
        # Told last: whoever sees that it has ended finds only what is to stay.
        self._state = ended

    def _new(self, name: str) -> Path:
        """Where a result is written until all of them are whole: those that were there stay as long."""
        return self.folder.path / f"new_{name}"

    def _throw_away(self) -> None:
        for name in (VIDEO, JSONL, CSV):
            self._new(name).unlink(missing_ok=True)

    def _hand_over(self) -> None:
        """Put what was made in the place of what was there before."""
        stem = Path(self.folder.shown_name).stem
        for name, media_type, ending in (
            (VIDEO, "video/mp4", "annotated.mp4"), (JSONL, "application/x-ndjson", "actions.jsonl"),
            (CSV, "text/csv", "ava.csv"),
        ):
            self._new(name).replace(self.folder.serve(name, media_type, f"{stem}_{ending}"))
        self.folder.made += 1

    def _analyse(self, pool: ModelPool) -> None:
        before = self._before
        if before is None:
            with pool.lease(self.choices.model) as lease, contextlib.ExitStack() as stack:
                self._model, self._untrained = lease.session.model, lease.session.untrained
                lease.set_person_threshold(self.choices.person_threshold)
                self._write(self._open_film(), lambda source: self._look(stack, source, lease.session))
        else:
            self._model, self._untrained = before._model, before._untrained
            self._results, self._pictures = before._results, before._pictures
            self._write(self._open_film(), self._draw_again)
        if self._stop.is_set():
            return
        assert self._model is not None
        results = [_keep_people(r, self.choices.person_threshold) for r in self._results]
        proven = () if self._untrained else self._model.works_on_real_video
        self.summary = summarise(results, max(self._duration_s, self._done_s), self._model.labels, proven)
        self._hand_over()

    def _open_film(self) -> VideoFile:
        file = VideoFile(self.path, name=self.folder.shown_name, options=OPEN_OPTIONS)
        self._duration_s = file.duration_s or 0.0
        return file

    def _write(self, file: VideoFile, look: Callable[[Source], Iterator[Update]]) -> None:
        """Write all files out of what a look at the film gives."""
        assert self._model is not None
        thresholds = self.choices.thresholds(self._model)
        for name in (JSONL, CSV):
            self._new(name).unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            video = Mp4Writer(self._new(VIDEO), file.fps, overwrite=True)
            jsonl = JsonLines(self._new(JSONL), thresholds)
            ava = AvaCsv(self._new(CSV))
            for sink in (video, jsonl, ava):
                stack.callback(sink.close)
            for update in look(ShrunkSource(file, MAX_SIDE_PX, self._max_duration_s)):
                if self._stop.is_set():
                    return
                for result in update.results:
                    result = _keep_people(result, self.choices.person_threshold)
                    jsonl.write(result)
                    ava.write(result)
                if update.frame is not None:
                    image = draw_update(self.choices.keep_people(update), thresholds, status_line=False)
                    video.write(image, update.frame.time_s)
                    self._done_s = update.frame.time_s
                    if self._duration_s and self._first[1] == 1.0:
                        self._first = (self._clock(), min(self._done_s / self._duration_s, 0.99))

    def _look(self, stack: contextlib.ExitStack, source: Source, session: Session) -> Iterator[Update]:
        """Show the film to the network; what comes is kept for drawing it again."""
        options = Options(thresholds=self.choices.thresholds(session.model))
        pipeline = stack.enter_context(Pipeline(source, session, options))
        self._pipeline = pipeline
        for update in pipeline:
            self._results += update.results
            if update.frame is not None:
                self._pictures.append(_Shown(update.boxes, update.scores, update.steady))
            yield update

    def _draw_again(self, source: Source) -> Iterator[Update]:
        """The film once more with what is known about it already."""
        assert self._model is not None
        results = tuple(self._results)
        for frame, shown in zip(source, self._pictures, strict=False):
            yield Update(
                frame, frame.time_s, shown.boxes, shown.scores, Status(live=False), self._model, results,
                self._untrained, steady=shown.steady,
            )
            results = ()


def _keep_people(result: KeyFrameResult, threshold: float) -> KeyFrameResult:
    return result.only(result.detections.boxes.score >= threshold)
