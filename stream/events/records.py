"""What rules are given and what they give: observations, events, and changes of events. Records only.

Boxes are shares of the picture: x of its width, y of its height, 0 to 1, y down.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from detector.labels import LabelMap
from detector.types import Boxes
from stream.results import KeyFrameResult

SCHEMA = 1
Box = tuple[float, float, float, float]
ChangeKind = Literal["start", "update", "end", "film"]


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """Who was seen at one moment and what the network says of each of them.

    Attributes:
        time_s: media time; increases from one observation to the next.
        people: N people in shares of the picture; track id -1 where there is none.
        scores: (N, A) float32; a row of NaN where a person has no answer.
        labels: what the A columns mean.
        utc: seconds since 1970, None for files.
        aspect: width of the picture over its height.
        model: whose scores these are.
        proven: action names that the model's record shows to work on real video; None for all of them.
        untrained: random weights; no action is proven.
        limits: (A,) scores over which the model's record shows its actions; None where it has no limits of its own.
    """

    time_s: float
    people: Boxes
    scores: np.ndarray
    labels: LabelMap
    utc: float | None = None
    aspect: float = 16 / 9
    model: str = ""
    proven: tuple[str, ...] | None = None
    untrained: bool = False
    limits: np.ndarray | None = None

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float32).reshape(-1, len(self.labels))
        if len(scores) != len(self.people):
            raise ValueError(f"Observation.scores: got {scores.shape}, expected ({len(self.people)}, A)")
        object.__setattr__(self, "scores", scores)


def observation_of(result: KeyFrameResult) -> Observation:
    """A key frame's answer as rules take it."""
    h, w = result.size_hw
    boxes = result.detections.boxes
    shares = Boxes(boxes.xyxy / np.array([w, h, w, h], np.float32), boxes.score, boxes.track_id)
    proven = () if result.untrained else result.model.works_on_real_video
    return Observation(
        result.time_s, shares, result.detections.action_scores, result.model.labels, result.captured_utc, w / h,
        result.model.name, proven, result.untrained,
        None if result.model.thresholds is None else np.array(result.model.thresholds, np.float32),
    )


@dataclass(frozen=True, slots=True)
class Reason:
    """One value that met one limit: why an event is, or is not.

    Attributes:
        time_s: media time.
        what: the value's name: `score of fall down`, `seconds in hall`.
        value, limit: both in the same unit.
        crossed: "over" or "under" the limit, or "-" where it only came near.
    """

    time_s: float
    what: str
    value: float
    limit: float
    crossed: str

    def __str__(self) -> str:
        sign = {"over": ">=", "under": "<"}.get(self.crossed, "against")
        return f"{self.time_s:.2f} s: {self.what} {self.value:.2f} {sign} {self.limit:.2f}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, told once.

    Attributes:
        id: stays from start to end, in every store and message.
        camera, rule, kind: where, by which rule, of which kind (`action`, `stay`, ...).
        zone: of the rule's zones, or the line; "" for the whole picture.
        person: number of the person within the camera, kept when the track id changes; -1 where it is about none.
        track: the newest track id of that person; -1 where there is none.
        action: the action's name; "" where the rule is about none.
        direction: "in" or "out" for lines and zones, else "".
        start_s, told_s, end_s: media time when it began, when the rule was sure, when it ended (None: goes on).
        start_utc, told_utc, end_utc: the same in seconds since 1970; None for files.
        peak_score, peak_s, peak_utc, mean_score, answers: of the value that the rule watches, while it went on.
        box: of the person at the peak, in shares of the picture; None where it is about none.
        people: how many were counted, at the peak.
        counts: running counts of the rule: `{"in": 5, "out": 3}`.
        unproven: the model's record does not show that it knows this action on real video.
        model, source: whose scores; what was watched, without credentials.
        why: which values crossed which limits when, oldest first.
        ended_because: "" while it goes on.
        snapshot, film: paths below the recorder's folder; "" where there is none (yet).
        film_lead_s: how long before `start_s` the film begins.
    """

    id: str
    camera: str
    rule: str
    kind: str
    start_s: float
    told_s: float
    zone: str = ""
    person: int = -1
    track: int = -1
    action: str = ""
    direction: str = ""
    end_s: float | None = None
    start_utc: float | None = None
    told_utc: float | None = None
    end_utc: float | None = None
    peak_score: float = 0.0
    peak_s: float = 0.0
    peak_utc: float | None = None
    mean_score: float = 0.0
    answers: int = 0
    box: Box | None = None
    people: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    unproven: bool = False
    model: str = ""
    source: str = ""
    why: tuple[Reason, ...] = ()
    ended_because: str = ""
    snapshot: str = ""
    film: str = ""
    film_lead_s: float = 0.0

    @property
    def seconds(self) -> float | None:
        """How long it went on; None while it does."""
        return None if self.end_s is None else self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class EventChange:
    """A step in an event's life.

    Attributes:
        kind: `start`, `update`, `end`, or `film` when its film is complete, which may come after the end.
        event: as it is now.
        before: as it was told last; None at the start.
    """

    kind: ChangeKind
    event: Event
    before: Event | None = None


def iso(utc: float | None) -> str | None:
    """`2026-01-31T09:00:00.123Z`, or None."""
    if utc is None:
        return None
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_to_json(event: Event, why: bool = True) -> dict[str, Any]:
    """The JSON form of an event, schema 1: the fields of `Event`, seconds rounded to ms, UTC as text too.

    Beside each `x_utc` (seconds) stands `x` (ISO text). Readers should ignore keys that they do not know.
    """
    line: dict[str, Any] = {"schema": SCHEMA} | asdict(event)
    line["counts"] = dict(event.counts)
    line["box"] = None if event.box is None else [round(v, 4) for v in event.box]
    line["why"] = [asdict(reason) for reason in event.why]
    line["seconds"] = event.seconds
    for key, value in list(line.items()):
        if isinstance(value, float):
            line[key] = round(value, 4 if "score" in key else 3)
        if key.endswith("_utc"):
            line[key.removesuffix("_utc")] = iso(value)
    if not why:
        del line["why"]
    return line


_FIELDS = {field.name for field in fields(Event)}


def event_from_json(line: dict[str, Any]) -> Event:
    """The event of its JSON form; unknown keys are left out."""
    values = {key: value for key, value in line.items() if key in _FIELDS}
    values["counts"] = tuple(sorted((values.get("counts") or {}).items()))
    values["box"] = None if values.get("box") is None else tuple(values["box"])
    values["why"] = tuple(Reason(**reason) for reason in values.get("why") or ())
    return Event(**values)


def describe(event: Event) -> str:
    """One line for people: `door: #12 fall down, 14:03:22, in hall, 8 s, 0.91`."""
    who = "" if event.person < 0 else f"#{event.track if event.track >= 0 else event.person} "
    what = event.action or {"stay": "stays", "enter": "enters", "leave": "leaves", "cross": "crosses",
                            "nobody": "nobody seen", "crowd": f"{event.people} people"}.get(event.kind, event.kind)
    when = f"{event.start_s:.1f} s"
    if event.start_utc is not None:
        when = datetime.fromtimestamp(event.start_utc).strftime("%H:%M:%S")
    parts = [f"{event.camera}: {who}{what}", when]
    if event.zone:
        parts.append(f"{'over' if event.kind == 'cross' else 'in'} {event.zone}")
    if event.direction and event.kind == "cross":
        parts.append(event.direction)
    if event.seconds:
        parts.append(f"{event.seconds:.0f} s")
    if event.kind == "action":
        parts.append(f"{event.peak_score:.2f}")
    if event.unproven:
        parts.append("not shown to work on real video")
    return ", ".join(parts)


def with_media(event: Event, snapshot: str = "", film: str = "", film_lead_s: float = 0.0) -> Event:
    """The event with paths of its pictures, and by how much its film begins before it."""
    lead_s = round(film_lead_s, 3) if film else event.film_lead_s
    return replace(event, snapshot=snapshot or event.snapshot, film=film or event.film, film_lead_s=lead_s)
