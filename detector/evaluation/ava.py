"""AVA's frame mAP: the official evaluator's figure, from files or from arrays.

What is computed is what `Evaluation/get_ava_performance.py` of the ActivityNet project computes (PASCAL VOC average
precision at IoU 0.5, mean over classes that occur in the ground truth):

- Per key frame and class, detections are tried in order of falling score. Each looks only at the ground-truth box
  that it overlaps most: at IoU >= 0.5 it is a hit if that box is still free, otherwise (also when another box would
  have been free) a false alarm.
- Hits of all frames are sorted by score; precision is made non-increasing from the right; the area under the steps
  counts. A class with ground truth but no detection has 0; a class without ground truth is left out.
- Order of equal scores: within a frame as the official heap gives it; over frames the later one first, as the
  official `argsort` reversed gives where it is stable (in general it is not, and the official figure then depends
  on the version of numpy; ours is the same every time).

Detections in frames without ground truth are false alarms, as in the evaluator that published SlowFast figures were
made with; excluded frames do not count at all. The present official script differs in two points, both here as
options: it leaves out frames that the ground truth does not name, and keeps the best 50 detections a frame.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.ava import AvaRow, FrameKey, read_rows
from detector.data.problems import Problems
from detector.errors import UserError
from detector.labels import LabelMap
from detector.types import iou

Entry = tuple[float, int, float, float, float, float]


@dataclass
class FrameEntries:
    """What a file says about its key frames.

    Attributes:
        entries: (score, action id, y1, x1, y2, x2) of each box and action, by key frame, in the official order.
        frames: all key frames named, those without boxes too.
    """

    entries: dict[FrameKey, list[Entry]] = field(default_factory=dict)
    frames: set[FrameKey] = field(default_factory=set)


@dataclass(frozen=True)
class ClassResult:
    """One class's figures.

    Attributes:
        id, name: of the action.
        average_precision: NaN where the ground truth has none of it.
        positives: boxes in the ground truth.
        detections: boxes predicted.
        precision, recall, scores: (D,) along falling score.
    """

    id: int
    name: str
    average_precision: float
    positives: int
    detections: int
    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class AvaResult:
    """Frame mAP and what it is made of.

    Attributes:
        mean_ap: over the classes that occur in the ground truth.
        classes: one for each label, in the labels' order.
        frames: key frames with ground truth that counted.
        frames_predicted: of these, with at least one detection.
    """

    mean_ap: float
    classes: tuple[ClassResult, ...]
    frames: int
    frames_predicted: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        per_class = [
            {
                "id": c.id, "name": c.name, "positives": c.positives, "detections": c.detections,
                "average_precision": None if np.isnan(c.average_precision) else c.average_precision,
            }
            for c in self.classes
        ]
        return {
            "metric": "AVA frame mAP at IoU 0.5", "mAP": self.mean_ap, "frames": self.frames,
            "frames_predicted": self.frames_predicted, "classes": per_class,
        }


def read_entries(
    path: str | Path, labels: LabelMap, problems: Problems, scored: bool, max_per_frame: int = 0
) -> FrameEntries:
    """Read ground truth or predictions.

    Args:
        path: AVA CSV.
        labels: rows of other ids are left out, as the official class list does.
        problems: of rows.
        scored: the eighth column is a score (predictions); otherwise all count as 1.
        max_per_frame: keep only so many rows a key frame, the best; 0 keeps all.
    """
    def entries() -> Iterable[tuple[AvaRow, Entry | None]]:
        for row in read_rows(path, problems):
            if row.box is None:
                yield row, None
                continue
            if not row.action.lstrip("-").isdigit():
                problems.add("bad row", path, row.line, f"got action {row.action!r}, expected a whole-number id")
                continue
            score = 1.0
            if scored:
                try:
                    score = float(row.last)
                except ValueError:
                    score = float("nan")
                if not np.isfinite(score):
                    problems.add("bad row", path, row.line, f"got score {row.last!r}, expected a number")
                    continue
            x1, y1, x2, y2 = row.box
            yield row, (score, int(row.action), y1, x1, y2, x2)

    return _collect(((row.key, entry) for row, entry in entries()), set(labels.column_of_id), max_per_frame)


def collect_entries(
    rows: Iterable[tuple[FrameKey, Entry | None]], labels: LabelMap, max_per_frame: int = 0
) -> FrameEntries:
    """The same from values in memory: (key frame, (score, action id, y1, x1, y2, x2) or None) in any order."""
    return _collect(rows, set(labels.column_of_id), max_per_frame)


def _collect(
    rows: Iterable[tuple[FrameKey, Entry | None]], known_ids: set[int], max_per_frame: int
) -> FrameEntries:
    heaps: dict[FrameKey, list[Entry]] = defaultdict(list)
    result = FrameEntries()
    for key, entry in rows:
        result.frames.add(key)
        if entry is None or entry[1] not in known_ids:
            continue
        heap = heaps[key]
        if max_per_frame < 1 or len(heap) < max_per_frame:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    # Stable over the heap's own order: that is how the official script breaks ties within a frame.
    result.entries = {key: sorted(heap, key=lambda entry: -entry[0]) for key, heap in heaps.items()}
    return result


def evaluate_entries(
    truth: FrameEntries, predictions: FrameEntries, labels: LabelMap, *,
    excluded: set[FrameKey] = frozenset(), iou: float = 0.5, labelled_frames_only: bool = False,  # type: ignore[assignment]
) -> AvaResult:
    """Compute frame mAP.

    Args:
        truth, predictions: see `read_entries`.
        labels: classes to evaluate.
        excluded: key frames that do not count, on either side.
        iou: that a hit needs.
        labelled_frames_only: leave out predictions in frames that the ground truth does not name.

    Raises:
        UserError: no ground truth is left.
    """
    positives: dict[int, int] = defaultdict(int)
    wanted = {key: entries for key, entries in truth.entries.items() if key not in excluded}
    for entries in wanted.values():
        for entry in entries:
            positives[entry[1]] += 1
    if not positives:
        raise UserError("evaluation: the ground truth holds no box of the classes that count")
    scores: dict[int, list[float]] = defaultdict(list)
    hits: dict[int, list[bool]] = defaultdict(list)
    for key, entries in predictions.entries.items():
        if key in excluded or (labelled_frames_only and key not in truth.frames):
            continue
        for action, hit, score in _match_frame(entries, wanted.get(key, []), iou):
            scores[action].append(score)
            hits[action].append(hit)
    classes = tuple(
        _class_result(a.id, a.name, np.array(scores[a.id], float), np.array(hits[a.id], bool), positives[a.id])
        for a in labels
    )
    mean = float(np.nanmean([c.average_precision for c in classes]))
    return AvaResult(mean, classes, len(wanted), sum(key in predictions.entries for key in wanted))


def _match_frame(entries: list[Entry], wanted: list[Entry], least: float) -> Iterable[tuple[int, bool, float]]:
    """(action id, is a hit, score) of each detection of one frame, class by class."""
    for action in sorted({entry[1] for entry in entries}):
        mine = [entry for entry in entries if entry[1] == action and entry[2] < entry[4] and entry[3] < entry[5]]
        theirs = np.array([entry[2:] for entry in wanted if entry[1] == action], float).reshape(-1, 4)
        if not mine:
            continue
        free = np.ones(len(theirs), bool)
        overlaps = iou(np.array([entry[2:] for entry in mine], float), theirs)
        for entry, row in zip(mine, overlaps):
            best = int(row.argmax()) if len(theirs) else -1
            hit = best >= 0 and row[best] >= least and bool(free[best])
            if hit:
                free[best] = False
            yield action, hit, entry[0]


def _class_result(number: int, name: str, scores: np.ndarray, hits: np.ndarray, positives: int) -> ClassResult:
    order = np.argsort(scores, kind="stable")[::-1]
    true = np.cumsum(hits[order])
    precision = true / np.arange(1, len(true) + 1)
    recall = true / max(positives, 1)
    value = average_precision(precision, recall) if positives else float("nan")
    return ClassResult(number, name, value, positives, len(scores), precision, recall, scores[order])


def average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the precision-recall steps, precision made non-increasing from the right (VOC devkit, 2010).

    Args:
        precision, recall: (D,) along falling score; D = 0 gives 0.
    """
    r = np.concatenate([[0.0], recall, [1.0]])
    p = np.concatenate([[0.0], precision, [0.0]])
    p = np.maximum.accumulate(p[::-1])[::-1]
    return float(((r[1:] - r[:-1]) * p[1:]).sum())
