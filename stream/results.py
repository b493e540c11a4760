"""What the pipeline hands out: an answer for each key frame, and a picture with all that is known about it.

Records only: nothing here runs, reads or draws. The JSON forms are schema 1: `KeyFrameResult` is written out in
`result_to_json`, `StatusChange` in `status_to_json`. A line that has `status` is of the second kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import UserError
from detector.labels import LabelMap
from detector.types import Boxes, Detections, Frame
from detector.weights.records import ActionModel

if TYPE_CHECKING:
    import supervision

SCHEMA = 1


@dataclass(frozen=True, eq=False, slots=True)
class SteadyRows:
    """What is said of N people, as `detector.steady` decided it.

    Attributes:
        columns: N tuples of columns, best first.
        thresholds: (A,) scores that it was decided with.
    """

    columns: tuple[tuple[int, ...], ...]
    thresholds: np.ndarray

    def only(self, rows: np.ndarray) -> SteadyRows:
        """Of some of the people."""
        return SteadyRows(tuple(self.columns[i] for i in rows), self.thresholds)


@dataclass(frozen=True, slots=True)
class Drops:
    """What a live stream left out so far, so as not to fall behind.

    Attributes:
        frames: camera frames that were never handed out to be drawn.
        clips: key frames that were due by `every_s` and were skipped for a newer one; steps of a causal model.
        repeated: frames that a causal model saw once more, because the camera gave none.
        restarts: how often a causal model began without a past: at the start, after gaps and after skipped steps.
    """

    frames: int = 0
    clips: int = 0
    repeated: int = 0
    restarts: int = 0


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


@dataclass(frozen=True, slots=True)
class ScoredAction:
    """An action and its score, 0 to 1; `id` and `name` are the label file's.

    `proven` is False where the model's record does not show that it knows the action on real video.
    """

    id: int
    name: str
    score: float
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Person:
    """One person of an answer in plain Python.

    Attributes:
        track_id: the same number as long as the person is followed; -1 without a track.
        box: (x1, y1, x2, y2) in pixels of the key frame.
        score: the detector's confidence, 0 to 1.
        actions: those that are shown, best first; may be empty.
    """

    track_id: int
    box: tuple[float, float, float, float]
    score: float
    actions: tuple[ScoredAction, ...]


@dataclass(frozen=True, eq=False, slots=True)
class KeyFrameResult:
    """Who is in a key frame and what each of them does.

    `people()` gives it in plain Python, `to_dict()` as the JSON lines have it, `to_rows()` for a data frame,
    `to_supervision()` for the annotators and zones of that package.

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
        steady: what is said of each person, steady in time; None where nobody followed them.
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
    steady: SteadyRows | None = None

    def shown(self, row: int, thresholds: np.ndarray | None = None) -> list[int]:
        """Columns that are said of a person, best first: steady ones, but for (A,) `thresholds` of another stream."""
        limits = said_limits(thresholds, self.steady, self.model)
        return said_columns(self.detections.action_scores[row], row, limits, self.steady)

    def people(self, thresholds: np.ndarray | None = None) -> tuple[Person, ...]:
        """The people with the actions that are shown, best first.

        Without (A,) `thresholds`, or with the stream's own, what is said is steady in time; other thresholds ask this
        answer's scores alone.
        """
        boxes, labels = self.detections.boxes, self.model.labels
        return tuple(
            Person(
                int(boxes.track_id[i]), tuple(boxes.xyxy[i].tolist()), float(boxes.score[i]),
                tuple(
                    ScoredAction(labels[j].id, labels[j].name, float(scores[j]), self.model.is_proven(j))
                    for j in self.shown(i, thresholds)
                ),
            )
            for i, scores in enumerate(self.detections.action_scores)
        )

    def only(self, people: np.ndarray) -> KeyFrameResult:
        """The same answer with some of its people: (N,) bool."""
        rows = np.flatnonzero(people)
        steady = None if self.steady is None else self.steady.only(rows)
        return replace(self, detections=self.detections[rows], steady=steady)

    def to_dict(self, thresholds: np.ndarray | None = None, all_scores: bool = False) -> dict[str, Any]:
        """The answer as a JSON line has it, schema 1: see `result_to_json`."""
        return result_to_json(self, said_limits(thresholds, self.steady, self.model), all_scores)

    def to_rows(self, thresholds: np.ndarray | None = None, all_scores: bool = False) -> list[dict[str, Any]]:
        """Flat rows, one for each person and action over its threshold, as `pandas.DataFrame(rows)` takes them.

        A person without any such action has one row, whose action is None; with `all_scores` every action has one.
        """
        limits = np.full(len(self.model.labels), -1.0) if all_scores else thresholds
        rows = []
        for person in self.people(limits):
            x1, y1, x2, y2 = person.box
            start = {
                "source": self.source, "time_s": self.time_s, "frame": self.frame_index, "track_id": person.track_id,
                "x1": x1, "y1": y1, "x2": x2, "y2": y2, "person_score": person.score,
            }
            rows += [
                {**start, "action_id": a.id, "action": a.name, "action_score": a.score} for a in person.actions
            ] or [{**start, "action_id": None, "action": None, "action_score": None}]
        return rows

    def to_supervision(self, thresholds: np.ndarray | None = None) -> supervision.Detections:
        """The people as `supervision.Detections`.

        Returns:
            `xyxy` (N, 4), `confidence` (N,) of the person detector, `tracker_id` (N,), -1 without a track;
            `class_id` (N,) of the best action over its threshold, -1 where there is none; `data["class_name"]` (N,)
            its short name, `person` where there is none; `data["action_scores"]` (N, A) all scores.
        """
        from detector.to_supervision import supervision_detections

        best = [person.actions[:1] for person in self.people(thresholds)]
        labels = self.model.labels
        names = [labels[labels.column_of_id[b[0].id]].short_name if b else "person" for b in best]
        return supervision_detections(
            self.detections.boxes, np.array([b[0].id if b else -1 for b in best], int),
            tracker_id=self.detections.boxes.track_id,
            data={"class_name": np.array(names, str), "action_scores": self.detections.action_scores},
        )

    def __repr__(self) -> str:
        people = [f"#{p.track_id} {p.actions[0].name} {p.actions[0].score:.2f}" for p in self.people() if p.actions]
        n, a = self.detections.action_scores.shape
        more = f", {len(people) - 3} more" if len(people) > 3 else ""
        return (
            f"KeyFrameResult({self.source} at {self.time_s:.3f} s: boxes ({n}, 4), scores ({n}, {a})"
            f"{''.join(f', {p}' for p in people[:3])}{more})"
        )


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


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The source went offline, its reason for being so changed, or it is back.

    Attributes:
        source: without credentials.
        online: pictures are coming.
        reason: why not, or that they are coming again; no credentials.
        utc: when it was noticed, seconds since 1970.
    """

    source: str
    online: bool
    reason: str
    utc: float

    @property
    def status(self) -> str:
        """`online` or `offline`."""
        return "online" if self.online else "offline"


@dataclass(frozen=True, eq=False, slots=True)
class Update:
    """The next picture of a stream and what is known about it, and the answers that are new since the last one.

    Attributes:
        frame: full-size picture, read-only; None when only answers or changes of status came.
        time_s: media time that the picture stands for: the frame's own, or later where a silent camera's last
            frame is shown again.
        boxes: N people in pixels of `frame`, with track ids.
        scores: (N, A) float32, smoothed over time; a row of NaN where a person has no answer yet.
        status: rates, delays, drops.
        results: answers finished since the update before; each comes exactly once.
        model: whose scores these are.
        untrained: random weights: say so on every picture.
        changes: of the source's status since the update before; each comes exactly once.
        steady: what is said of each person, steady in time; None where nobody followed them.
    """

    frame: Frame | None
    time_s: float
    boxes: Boxes
    scores: np.ndarray
    status: Status
    model: ActionModel
    results: tuple[KeyFrameResult, ...] = ()
    untrained: bool = False
    changes: tuple[StatusChange, ...] = ()
    steady: SteadyRows | None = None

    def shown(self, row: int, thresholds: np.ndarray | None = None) -> list[int]:
        """Columns that are said of a person, best first, as `KeyFrameResult.shown` has them."""
        limits = said_limits(thresholds, self.steady, self.model)
        return said_columns(self.scores[row], row, limits, self.steady)

    def only(self, people: np.ndarray) -> Update:
        """The same update with some of its people: (N,) bool."""
        rows = np.flatnonzero(people)
        steady = None if self.steady is None else self.steady.only(rows)
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], steady=steady)

    def __repr__(self) -> str:
        n, a = self.scores.shape
        return (
            f"Update({self.frame!r} for {self.time_s:.3f} s: boxes ({n}, 4), scores ({n}, {a}), "
            f"{len(self.results)} new answers)"
        )


def said_limits(thresholds: np.ndarray | None, steady: SteadyRows | None, model: ActionModel) -> np.ndarray:
    """(A,) scores over which actions are said: those given, else the stream's own, else the model's."""
    if thresholds is not None:
        return thresholds
    return model.default_thresholds() if steady is None else steady.thresholds


def said_columns(scores: np.ndarray, row: int, thresholds: np.ndarray, steady: SteadyRows | None) -> list[int]:
    """Columns that are said of a person: the steady ones, unless thresholds are others than these were made with.

    Args:
        scores: (A,) the person's.
        row: his place among the people.
        thresholds: (A,); an infinite one hides its action.
        steady: of all people.
    """
    if steady is None or not np.array_equal(*(limits[np.isfinite(thresholds)] for limits in (thresholds,
                                                                                            steady.thresholds))):
        return shown_actions(scores, thresholds)
    return [j for j in steady.columns[row] if np.isfinite(thresholds[j])]


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
                     "actions": [{"id": 12, "name": "stand", "score": 0.91, "proven": true}, ...]}, ...],
         "model": "slowfast_8x8_r50", "untrained": false,
         "look_ahead_s": 0.933, "compute_s": 0.64, "drops": {"frames": 0, "clips": 3},
         "utc": "2026-01-31T09:00:00.123Z"}

    `frame` counts from 0. `size` is width, height; boxes are pixels of the source, x to the right, y down. `id` of
    a person is the track, -1 without one. `actions` holds what is said of the person, steady in time, best first;
    `score` is this answer's own, so it may be under the threshold for a while; with `all_scores` every action of the
    model. `proven` false: on real video the model is not known to be right most times that it says so. `untrained`
    true means random weights: the scores say nothing.
    With a causal model `drops` also has `repeated` (frames) and `restarts`, and `experimental` is true where its
    weights were not trained for that. `utc` (live only) is when the key frame was captured. Readers should ignore keys
    that they do not know; a change that breaks readers raises `schema`.
    """
    h, w = result.size_hw
    line: dict[str, Any] = {
        "schema": SCHEMA, "source": result.source, "time_s": round(result.time_s, 3), "frame": result.frame_index,
        "size": [w, h], "people": _people(result, thresholds, all_scores),
        "model": result.model.name, "untrained": result.untrained,
        "look_ahead_s": round(result.timings.look_ahead_s, 3), "compute_s": round(result.timings.compute_s, 3),
        "drops": {"frames": result.drops.frames, "clips": result.drops.clips},
    }
    if result.model.network.causal:
        line["drops"] |= {"repeated": result.drops.repeated, "restarts": result.drops.restarts}
        line["experimental"] = result.model.experimental
    if result.captured_utc is not None:
        line["utc"] = _utc_text(result.captured_utc)
    return line


def status_to_json(change: StatusChange) -> dict[str, Any]:
    """The JSON form of a change of status, schema 1; only live sources have them.

    ::

        {"schema": 1, "source": "rtsp://***@door/live", "status": "offline",
         "reason": "Server returned 401 Unauthorized", "utc": "2026-01-31T09:00:00.123Z"}

    `status` is `offline` or `online`. A stream begins online. While it is offline another line comes for each new
    reason; between an `offline` and the next `online` nobody is known to be there, whatever the answers before said.
    """
    return {
        "schema": SCHEMA, "source": change.source, "status": change.status, "reason": change.reason,
        "utc": _utc_text(change.utc),
    }


def _utc_text(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _people(result: KeyFrameResult, thresholds: np.ndarray, all_scores: bool) -> list[dict[str, Any]]:
    boxes, labels = result.detections.boxes, result.model.labels
    everything = np.full(len(labels), -np.inf)
    return [
        {
            "id": int(boxes.track_id[i]),
            "box": [round(float(v), 1) for v in boxes.xyxy[i]],
            "score": round(float(boxes.score[i]), 3),
            "actions": [
                {"id": labels[j].id, "name": labels[j].name, "score": round(float(scores[j]), 3),
                 "proven": result.model.is_proven(j) and not result.untrained}
                for j in (shown_actions(scores, everything) if all_scores else result.shown(i, thresholds))
            ],
        }
        for i, scores in enumerate(result.detections.action_scores)
    ]


def thresholds_for(
    model: ActionModel | LabelMap, settings: tuple[str, ...] = (), all_classes: bool = False
) -> np.ndarray:
    """Scores over which actions are shown: the model's own, changed by settings in order.

    Args:
        model: or a label map, whose defaults are taken then.
        all_classes: also those that the model's record says are wrong too often; a setting of its own shows one too.
        settings: `"0.5"` sets all; `"walk=0.6"` one (by id, name or part of a name that only one has).

    Returns:
        (A,) float32.

    Raises:
        UserError: a number outside 0..1, or an action that is not there.
    """
    if isinstance(model, LabelMap):
        labels, limits = model, model.default_thresholds().copy()
    else:
        labels, limits = model.labels, model.default_thresholds(all_classes)
    for setting in settings:
        name, value = check_threshold(setting)
        if name:
            limits[labels.find(name)] = value
        else:
            limits[np.isfinite(limits)] = value
    return limits


def check_threshold(setting: str) -> tuple[str, float]:
    """Split `"walk=0.6"` into name and number; the name of `"0.6"` is "". Whether there is such an action is not asked.

    Raises:
        UserError: no number from 0 to 1, or nothing before the `=`.
    """
    name, equals, number = setting.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1 or (equals and not name.strip()):
        raise UserError(f"--threshold {setting}: expected a number from 0 to 1, or ACTION=NUMBER (walk=0.6)")
    return name, value
