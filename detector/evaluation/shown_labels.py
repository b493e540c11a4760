"""What a person sees: labels as they are shown, against labelled clips and against ordinary life. Pure figures.

A label is right where it is the segment's; where nobody is boxed nothing is shown, and that counts as missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.evaluation.watched import KeyFrame, Watched
from detector.labels import LabelMap
from detector.types import iou

# One segment of a video: file name, label, start and end in seconds.
Segment = tuple[str, str, float, float]
# A labelled person of vtest.avi: seconds, (4,) box in pixels, pose.
Walker = tuple[float, np.ndarray, str]
# What is said of each of a key frame's people; made anew for each video.
Sayer = Callable[[], Callable[[KeyFrame], list[tuple[int, ...]]]]
ALARMS = ("fall down", "martial art", "run/jog", "lie/sleep")
_SLACK_S = 1e-6


@dataclass
class Shown:
    """Counts over labelled key frames, single-action clips and ordinary video.

    Attributes:
        right, wrong, missed: key frames by action: shown and so; shown and not so; so and not shown.
        segments, segments_right: with the label among the first two guesses on half of their key frames.
        key_frames, without_box: labelled ones, and those with nobody boxed.
        changes, steady_s: of what is said of a followed person in clips of one action, and the seconds of that; the
            first label is no change.
        begun, ordinary_s: labels that begin in ordinary video by action, and its seconds.
        delays_s: from a fall's labelled start to its first label; None where there is none.
        vtest: `right`, `wrong` and `missed` labels of vtest.avi's walkers and standers by action.
    """

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    segments: int = 0
    segments_right: int = 0
    key_frames: int = 0
    without_box: int = 0
    changes: int = 0
    steady_s: float = 0.0
    begun: Counter[str] = field(default_factory=Counter)
    ordinary_s: float = 0.0
    delays_s: list[float | None] = field(default_factory=list)
    vtest: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        """Share of the labels shown that are right, over all classes; NaN where none is."""
        return share(self.right.total(), self.wrong.total())

    @property
    def recall(self) -> float:
        """Share of the labelled key frames that show their label."""
        return share(self.right.total(), self.missed.total())

    def begun_a_minute(self, names: Sequence[str]) -> float:
        """How often labels of these actions begin in a minute of ordinary video, whatever the number of people."""
        return sum(self.begun[name] for name in names) / max(self.ordinary_s / 60, 1e-9)

    def figures(self) -> dict[str, Any]:
        """All of it for JSON, by class too."""
        names = sorted({*self.right, *self.wrong, *self.missed, *self.begun})
        return {
            "precision": self.precision, "recall": self.recall, "segments": self.segments,
            "segments_right": self.segments_right, "key_frames": self.key_frames, "without_box": self.without_box,
            "changes_a_minute": 60 * self.changes / max(self.steady_s, 1e-9), "ordinary_s": self.ordinary_s,
            "alarms_a_minute": self.begun_a_minute(ALARMS), "fall_delays_s": self.delays_s, "vtest": self.vtest,
            "classes": {name: {"right": self.right[name], "wrong": self.wrong[name], "missed": self.missed[name],
                               "begun": self.begun[name]} for name in names},
        }


def share(part: int, rest: int) -> float:
    """part of part and rest; NaN of nothing."""
    return part / (part + rest) if part + rest else float("nan")


def judge(
    watched: Sequence[Watched], segments: Sequence[Segment], labels: LabelMap, say: Sayer,
    walkers: Sequence[Walker] = (),
) -> Shown:
    """Count what is said: videos with segments are labelled ones, the others ordinary life.

    Args:
        watched: the videos.
        segments: of the labelled ones.
        labels: A actions.
        say: what is judged.
        walkers: labelled people of vtest.avi.
    """
    shown = Shown()
    for video in watched:
        speaker = say()
        said = [speaker(key) for key in video.key_frames]
        mine = [s for s in segments if s[0] == video.path.name]
        for _, label, start, end in mine:
            rows = [(k, s) for k, s in zip(video.key_frames, said, strict=True)
                    if start - _SLACK_S <= k.time_s <= end + _SLACK_S]
            _judge_segment(shown, rows, labels, labels.find(label))
            if len(mine) == 1:
                _count_changes(shown, rows)
            if label == "fall down":
                column = labels.find(label)
                late = [k.time_s - start for k, s in zip(video.key_frames, said, strict=True)
                        if start - 0.3 <= k.time_s <= end + 1.5 and any(column in columns for columns in s)]
                shown.delays_s.append(round(late[0], 2) if late else None)
        if not mine:
            shown.ordinary_s += video.seconds
            _count_begun(shown, video, said, labels)
        if video.path.name == "vtest.avi":
            _judge_walkers(shown, video, said, labels, walkers)
    return shown


def _judge_segment(shown: Shown, rows: list, labels: LabelMap, column: int) -> None:
    """Labels of the segment's own group only: whoever waves stands too, and both are right."""
    group, name, among_two = labels[column].group, labels[column].name, 0
    alike = [j for j, action in enumerate(labels) if action.group == group]
    for key, said in rows:
        main = key.main
        columns = [j for j in said[main] if labels[j].group == group] if main >= 0 else []
        shown.without_box += main < 0
        if main >= 0:
            scores = key.scores[main]
            among_two += int((scores[alike] > scores[column]).sum()) < 2
        (shown.right if column in columns else shown.missed)[name] += 1
        shown.wrong.update(labels[j].name for j in columns if j != column)
    shown.key_frames += len(rows)
    shown.segments += 1
    shown.segments_right += bool(rows) and among_two >= len(rows) / 2


def _judge_walkers(
    shown: Shown, video: Watched, said: list, labels: LabelMap, walkers: Sequence[Walker]
) -> None:
    """Poses of those labelled people who are boxed; whoever is not is a matter of the detector's recall."""
    for time_s, box, pose in walkers:
        near = min(range(len(said)), key=lambda i: abs(video.key_frames[i].time_s - time_s), default=-1)
        if near < 0 or abs(video.key_frames[near].time_s - time_s) > 0.11:
            continue
        shared = iou(video.key_frames[near].boxes.xyxy, box[None])[:, 0]
        if not len(shared) or shared.max() < 0.5:
            continue
        poses = [labels[j].name for j in said[near][int(shared.argmax())] if labels[j].group == "pose"]
        _tally(shown.vtest, pose, "right" if pose in poses else "missed")
        for name in poses:
            if name != pose:
                _tally(shown.vtest, name, "wrong")


def _tally(table: dict[str, dict[str, int]], name: str, what: str) -> None:
    table.setdefault(name, {"right": 0, "wrong": 0, "missed": 0})[what] += 1


def _count_changes(shown: Shown, rows: list) -> None:
    before: tuple[int, frozenset[int], float] | None = None
    spoken_of: set[int] = set()
    for key, said in rows:
        main = key.main
        now = (int(key.boxes.track_id[main]), frozenset(said[main]), key.time_s) if main >= 0 else None
        if now is not None and before is not None and now[0] == before[0] >= 0:
            shown.changes += now[1] != before[1] and now[0] in spoken_of
            shown.steady_s += now[2] - before[2]
        if now is not None and now[1]:
            spoken_of.add(now[0])
        before = now


def _count_begun(shown: Shown, video: Watched, said: list, labels: LabelMap) -> None:
    going: dict[int, tuple[int, ...]] = {}
    for key, rows in zip(video.key_frames, said, strict=True):
        for track_id, columns in zip(key.boxes.track_id.tolist(), rows, strict=True):
            known = going.get(track_id, ()) if track_id >= 0 else ()
            shown.begun.update(labels[j].name for j in columns if j not in known)
            if track_id >= 0:
                going[track_id] = columns


def print_shown(title: str, shown: Shown) -> None:
    """Totals, then a line a class."""
    minutes = max(shown.ordinary_s / 60, 1e-9)
    print(f"{title}: precision {shown.precision:.2f}, recall {shown.recall:.2f}; segments right "
          f"{shown.segments_right} of {shown.segments}; no box on {shown.without_box} of {shown.key_frames} key frames")
    print(f"  {60 * shown.changes / max(shown.steady_s, 1e-9):.1f} changes a minute on clips of one action; falls told "
          f"after {', '.join('never' if d is None else f'{d:.1f} s' for d in shown.delays_s) or '-'}")
    if shown.ordinary_s:
        print(f"  ordinary life, {minutes:.1f} minutes: {', '.join(ALARMS)} begin "
              f"{shown.begun_a_minute(ALARMS):.2f} times a minute, fall down {shown.begun_a_minute(ALARMS[:1]):.2f}")
    for name, row in sorted(shown.vtest.items()):
        print(f"  vtest, boxed people: {name} precision {share(row['right'], row['wrong']):.2f}, "
              f"recall {share(row['right'], row['missed']):.2f} of {row['right'] + row['missed']}")
    print(f"  {'class':26s} {'right':>5s} {'wrong':>5s} {'missed':>6s} {'prec':>5s} {'rec':>5s} {'begin/min':>9s}")
    for name in sorted({*shown.right, *shown.wrong, *shown.missed, *shown.begun}):
        right, wrong, missed = shown.right[name], shown.wrong[name], shown.missed[name]
        print(f"  {name:26s} {right:5d} {wrong:5d} {missed:6d} {share(right, wrong):5.2f} {share(right, missed):5.2f} "
              f"{shown.begun[name] / minutes:9.2f}")
