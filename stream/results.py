"""What the pipeline hands out: an answer for each key frame, and a picture with all that is known about it.

Records only: nothing here runs, reads or draws. The JSON form of `KeyFrameResult` is schema 1, written out in
`result_to_json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from detector.errors import UserError
from detector.labels import LabelMap
from detector.types import Boxes, Detections, Frame
from detector.weights.records import ActionModel

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Drops:
    """What a live stream left out so far, so as not to fall behind.

    Attributes:
        frames: camera frames that were never handed out to be drawn.
        clips: key frames that were due by `every_s` and were skipped for a newer one.
    """

    frames: int = 0
    clips: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """How long an answer took, in seconds.

    Attributes:
        look_ahead_s: video after the key frame that the network waits for.
        compute_s: from the moment that video was there until the answer was.
        engine_s: of which the network itself.
        detect_s: the last run of the person detector.
    """

    look_ahead_s: float = 0.0
    compute_s: float = 0.0
    engine_s: float = 0.0
    detect_s: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class KeyFrameResult:
    """Who is in a key frame and what each of them does.

    Attributes:
        source: what was watched, without credentials.
        frame_index: of the key frame, from 0; frames that the source dropped count too.
        time_s: media time of the key frame.
        due_s: the moment that was asked for: a multiple of `every_s` for files, `time_s` itself when live.
        size_hw: height and width of the key frame in pixels.
        detections: people (boxes in pixels of the key frame, track ids) and their (N, A) scores, not smoothed.
        model: whose scores these are; column j is `model.labels[j]`.
        untrained: the scores are those of random weights and mean nothing.
        timings: what the answer cost.
        drops: what had been left out by then.
        captured_utc: when the key frame was captured, seconds since 1970; None for files.
    """

    source: str
    frame_index: int
    time_s: float
    due_s: float
    size_hw: tuple[int, int]
    detections: Detections
    model: ActionModel
    untrained: bool = False
    timings: Timings = field(default_factory=Timings)
    drops: Drops = field(default_factory=Drops)
    captured_utc: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How the stream is doing at one moment.

    Attributes:
        online: the source is giving pictures.
        message: why not, or what is being prepared; "" when all is well. Never holds credentials.
        camera_fps: frames a second that came in lately; 0 before two have.
        shown_fps: frames a second that were handed out lately.
        clips_per_s: answers a second lately; 0 before two have come.
        detections_per_s: runs of the person detector a second lately.
        look_ahead_s: video after the key frame that the network needs.
        compute_s: what an answer takes beyond that, lately; 0 before the first.
        engine: what runs the network: `openvino bf16`.
        detector: what finds people.
        drops: what was left out so far.
        live: newest first (True), or everything in order (False).
    """

    online: bool = True
    message: str = ""
    camera_fps: float = 0.0
    shown_fps: float = 0.0
    clips_per_s: float = 0.0
    detections_per_s: float = 0.0
    look_ahead_s: float = 0.0
    compute_s: float = 0.0
    engine: str = ""
    detector: str = ""
    drops: Drops = field(default_factory=Drops)
    live: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Update:
    """The next picture of a stream and what is known about it, and the answers that are new since the last one.

    Attributes:
        frame: full-size picture, read-only; None when only answers came (at the end of a stream).
        time_s: media time that the picture stands for: the frame's own, or later where a silent camera's last
            frame is shown again.
        boxes: N people in pixels of `frame`, with track ids.
        scores: (N, A) float32, smoothed over time; a row of NaN where a person has no answer yet.
        status: rates, delays, drops.
        results: answers finished since the update before; each comes exactly once.
        model: whose scores these are.
        untrained: random weights: say so on every picture.
    """

    frame: Frame | None
    time_s: float
    boxes: Boxes
    scores: np.ndarray
    status: Status
    model: ActionModel
    results: tuple[KeyFrameResult, ...] = ()
    untrained: bool = False


def shown_actions(scores: np.ndarray, thresholds: np.ndarray) -> list[int]:
    """Columns whose score reaches its threshold, best score first; none for a row of NaN.

    Args:
        scores: (A,) one person's scores.
        thresholds: (A,) per column.
    """
    with np.errstate(invalid="ignore"):
        columns = np.flatnonzero(scores >= thresholds)
    return columns[np.argsort(-scores[columns], kind="stable")].tolist()


def result_to_json(result: KeyFrameResult, thresholds: np.ndarray, all_scores: bool = False) -> dict[str, Any]:
    """The JSON form of an answer, schema 1.

    ::

        {"schema": 1, "source": "door.mp4", "time_s": 4.0, "frame": 96, "size": [1280, 720],
         "people": [{"id": 2, "box": [x1, y1, x2, y2], "score": 0.97,
                     "actions": [{"id": 12, "name": "stand", "score": 0.91}, ...]}, ...],
         "model": "slowfast_8x8_r50", "untrained": false,
         "look_ahead_s": 0.933, "compute_s": 0.64, "drops": {"frames": 0, "clips": 3},
         "utc": "2026-01-31T09:00:00.123Z"}

    `frame` counts from 0. `size` is width, height; boxes are pixels of the source, x to the right, y down. `id` of
    a person is the track, -1 without one. `actions` holds those over their threshold, best first; with
    `all_scores` every action of the model. `untrained` true means random weights: the scores say nothing.
    `utc` (live only) is when the key frame was captured. Readers should ignore keys that they do not know;
    a change that breaks readers raises `schema`.
    """
    h, w = result.size_hw
    line: dict[str, Any] = {
        "schema": SCHEMA, "source": result.source, "time_s": round(result.time_s, 3), "frame": result.frame_index,
        "size": [w, h], "people": _people(result, thresholds, all_scores),
        "model": result.model.name, "untrained": result.untrained,
        "look_ahead_s": round(result.timings.look_ahead_s, 3), "compute_s": round(result.timings.compute_s, 3),
        "drops": {"frames": result.drops.frames, "clips": result.drops.clips},
    }
    if result.captured_utc is not None:
        moment = datetime.fromtimestamp(result.captured_utc, UTC)
        line["utc"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return line


def _people(result: KeyFrameResult, thresholds: np.ndarray, all_scores: bool) -> list[dict[str, Any]]:
    boxes, labels = result.detections.boxes, result.model.labels
    limits = np.full(len(labels), -np.inf) if all_scores else thresholds
    return [
        {
            "id": int(boxes.track_id[i]),
            "box": [round(float(v), 1) for v in boxes.xyxy[i]],
            "score": round(float(boxes.score[i]), 3),
            "actions": [
                {"id": labels[j].id, "name": labels[j].name, "score": round(float(scores[j]), 3)}
                for j in shown_actions(scores, limits)
            ],
        }
        for i, scores in enumerate(result.detections.action_scores)
    ]


def thresholds_for(labels: LabelMap, settings: tuple[str, ...] = ()) -> np.ndarray:
    """Scores over which actions are shown: the label map's defaults, changed by settings in order.

    Args:
        labels: of the model.
        settings: `"0.5"` sets all; `"walk=0.6"` one (by id, name or part of a name that only one has).

    Returns:
        (A,) float32.

    Raises:
        UserError: a number outside 0..1, or an action that is not there.
    """
    limits = labels.default_thresholds().copy()
    for setting in settings:
        name, _, number = setting.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise UserError(f"--threshold {setting}: expected a number from 0 to 1, or ACTION=NUMBER (walk=0.6)")
        if "=" in setting:
            limits[labels.find(name)] = value
        else:
            limits[:] = value
    return limits
