"""Labelled single-action clips, with boxes of the person detector: how often the label is on top."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.data.decode import open_named
from detector.evaluation.real_clips import Video, load_video, pose_columns, score_people
from detector.types import Boxes
from detector.weights.records import ActionModel

KEY_EVERY_S = 0.2
NEAR_S = 0.5  # a person whom the detector misses keeps the box of a moment this near


class DetectedPeople:
    """Boxes of the person detector at a video's key frames, computed once and kept in a JSON file."""

    def __init__(self, cache: Path | None, name: str = "auto") -> None:
        self.cache, self.name = cache, name

    def of(self, path: Path) -> list[tuple[float, Boxes]]:
        """(seconds, people) every `KEY_EVERY_S` of a video; the detector sees every key frame in order."""
        kept = self.cache / f"{path.name}.json" if self.cache else None
        if kept and kept.exists():
            return [(t, Boxes(np.array(b), np.array(s))) for t, b, s in json.loads(kept.read_text())]
        from detector.person.select import create_person_detector

        detector = create_person_detector(self.name)
        found = []
        try:
            with open_named(path) as video:
                fps, due = video.fps or 30.0, 0.0
                for index, picture in enumerate(video.pictures()):
                    if index / fps >= due - 1e-9:
                        found.append((index / fps, detector.detect(picture.bgr())))
                        due += KEY_EVERY_S
        finally:
            detector.close()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps([(t, b.xyxy.tolist(), b.score.tolist()) for t, b in found]))
        return found


def _largest(boxes: Boxes) -> int:
    size = (boxes.xyxy[:, 2] - boxes.xyxy[:, 0]) * (boxes.xyxy[:, 3] - boxes.xyxy[:, 1])
    return int((size * boxes.score).argmax())


def _rightmost(boxes: Boxes) -> int:
    return int((boxes.xyxy[:, 0] + boxes.xyxy[:, 2]).argmax())


def people_of_interest(found: list[tuple[float, Boxes]], choose=_largest) -> list[tuple[float, Boxes | None]]:
    """(seconds, one box or None) a key frame; misses are filled from the nearest sighting within `NEAR_S`."""
    seen = [(t, b[[choose(b)]]) for t, b in found if len(b)]
    out: list[tuple[float, Boxes | None]] = []
    for t, _ in found:
        nearest = min(seen, key=lambda s: abs(s[0] - t), default=None)
        out.append((t, nearest[1] if nearest and abs(nearest[0] - t) <= NEAR_S else None))
    return out


@dataclass(frozen=True)
class SegmentResult:
    """How often the label was first or among the first two, over a segment's key frames."""

    name: str
    label: str
    key_frames: int
    top1: float
    top2: float
    said: dict[str, int]


def score_segment(network: torch.nn.Module, model: ActionModel, video: Video,
                  people: list[tuple[float, Boxes | None]], label: str, start_s: float, end_s: float) -> SegmentResult:
    """Ranks of one label over a segment. Poses are ranked among poses; other actions by their own threshold."""
    column = model.labels.find(label)
    poses = pose_columns(model)
    ranks: list[int] = []
    said: Counter[str] = Counter()
    for t, box in people:
        if box is None or not start_s - 1e-6 <= t <= end_s + 1e-6:
            continue
        row = score_people(network, model, video.clip_at(t, model), box)[0]
        said[model.labels[poses[int(row[poses].argmax())]].short_name] += 1
        if column in poses:
            ranks.append(int((row[poses] > row[column]).sum()))
        else:
            threshold = model.labels.default_thresholds()[column]
            ranks.append(0 if row[column] >= threshold else 1 if row[column] >= threshold / 2 else 2)
    r = np.array(ranks)
    top1, top2 = (float((r < k).mean()) if len(r) else float("nan") for k in (1, 2))
    return SegmentResult(video.path.stem, label, len(r), top1, top2, dict(said.most_common(4)))


def read_segments(path: Path) -> list[tuple[str, str, float, float]]:
    """(file, label, start, end seconds) of a clips.csv; no seconds means the whole clip."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row["seconds"].strip()
            parts = text.split("-")
            timed = len(parts) == 2 and all(p.replace(".", "", 1).isdigit() for p in parts)
            start, end = (float(parts[0]), float(parts[1])) if timed else (0.0, 1e9)
            rows.append((row["file"], row["label"], start, end))
    return rows


def labelled_clips(network: torch.nn.Module, model: ActionModel, media: Path,
                   people: DetectedPeople) -> list[SegmentResult]:
    """bedroom.mp4, juggle.mp4 and the single-action clips of actions/clips.csv."""
    work: list[tuple[Path, str, float, float, object]] = []
    if (media / "bedroom.mp4").exists():
        work += [(media / "bedroom.mp4", "jump/leap", 0.0, 1e9, _rightmost)]
        work += [(media / "juggle.mp4", "stand", 0.0, 1e9, _largest)]
    if (media / "actions/clips.csv").exists():
        work += [(media / "actions" / f, label, a, b, _largest)
                 for f, label, a, b in read_segments(media / "actions/clips.csv")]
    results, loaded = [], {}
    for path, label, start, end, choose in work:
        if path not in loaded:
            loaded = {path: load_video(path, model.view.short_side_px)}
        chosen = people_of_interest(people.of(path), choose)
        results.append(score_segment(network, model, loaded[path], chosen, label, start, end))
    return results


def print_table(results: Sequence[SegmentResult]) -> None:
    """One line a segment, then one a class."""
    print(f"{'clip':34s} {'label':24s} {'n':>4s} {'top-1':>6s} {'top-2':>6s}  said")
    for r in results:
        print(f"{r.name:34s} {r.label:24s} {r.key_frames:4d} {r.top1:6.2f} {r.top2:6.2f}  {r.said}")
    for label in dict.fromkeys(r.label for r in results):
        rows = [r for r in results if r.label == label and r.key_frames]
        total = sum(r.key_frames for r in rows)
        if total:
            top1, top2 = (sum(getattr(r, k) * r.key_frames for r in rows) / total for k in ("top1", "top2"))
            where = f"{total:4d} key frames of {len(rows)} segments"
            print(f"class {label:24s} {where}: top-1 {top1:.2f}, top-2 {top2:.2f}")
