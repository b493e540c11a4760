"""What is known to happen in the labelled videos that events are measured on. They are no part of the project."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.errors import UserError
from detector.labels import LabelMap
from detector.types import Boxes
from stream.events.records import Observation

# Labels of seconds were set by eye, about so exactly.
SLACK_S = 0.5
VTEST_FPS, VTEST_WH = 10.0, (768, 576)


@dataclass(frozen=True, slots=True)
class Segment:
    """An action of the main person of a film, from one second to another."""

    film: str
    action: str
    from_s: float
    to_s: float


def read_segments(media: Path) -> list[Segment]:
    """The labelled segments of `actions/clips.csv`; one without seconds is the whole film.

    Raises:
        UserError: the file is not there.
    """
    path = media / "actions" / "clips.csv"
    try:
        rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the folder of labelled videos") from None
    segments = []
    for row in rows:
        span = row["seconds"].split("-")
        try:
            from_s, to_s = float(span[0]), float(span[1])
        except (ValueError, IndexError):
            from_s, to_s = 0.0, float("inf")
        segments.append(Segment(row["file"], row["label"], from_s, to_s))
    return segments


def ordinary_films(media: Path) -> list[Path]:
    """Films in which nobody falls, fights, runs or lies."""
    return [*sorted((media / "ordinary").glob("*.mp4")), media / "vtest.avi"]


@dataclass(frozen=True, slots=True)
class TrueBox:
    """A labelled person of vtest.avi: where, and `walk`, `stand` or "" between them."""

    time_s: float
    track: int
    box: tuple[float, float, float, float]
    pose: str


def read_vtest(media: Path) -> list[TrueBox]:
    """The labelled people of vtest.avi that can be seen, in shares of the picture."""
    path = media / "vtest_labels.csv"
    w, h = VTEST_WH
    try:
        rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return [_true_box(row, w, h) for row in rows if row["visible"] == "1"]


def _true_box(row: dict[str, str], w: int, h: int) -> TrueBox:
    x, y, wide, tall = (float(row[key]) for key in ("left_px", "top_px", "width_px", "height_px"))
    # Frames count from 1.
    time_s = (int(row["frame"]) - 1) / VTEST_FPS
    return TrueBox(time_s, int(row["track_id"]), (x / w, y / h, (x + wide) / w, (y + tall) / h), row["pose"])


def true_observations(boxes: list[TrueBox], labels: LabelMap) -> list[Observation]:
    """The labelled people as a perfect detector and tracker would give them, without actions."""
    at: dict[float, list[TrueBox]] = defaultdict(list)
    for box in boxes:
        at[box.time_s].append(box)
    return [
        Observation(
            time_s,
            Boxes(np.array([b.box for b in here]), np.ones(len(here)), np.array([b.track for b in here])),
            np.zeros((len(here), len(labels)), np.float32), labels, None, VTEST_WH[0] / VTEST_WH[1],
        )
        for time_s, here in sorted(at.items())
    ]
