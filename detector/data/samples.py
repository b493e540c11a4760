"""Key frames with people and what they do, out of AVA-format files: what a detection network learns from.

Two kinds of files share the format of `detector.data.ava`:

- AVA itself: ids of movies, whose files are found by name in a folder;
- your own: the first column is a video's path, relative to the CSV, times count from its start, and the action
  column holds a name or an id. `video,time,x1,y1,x2,y2,action[,person]`, corners as shares of the picture. One row
  for each action of each person at each key frame; a person with a row of empty action does nothing of the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.data.ava import AvaRow, FrameKey, read_rows
from detector.data.problems import Problems
from detector.data.video import VideoError, read_duration_s
from detector.errors import UserError
from detector.labels import Action, LabelMap
from detector.types import iou

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg")
# The paper's "SlowFast*" also trains on predicted boxes that overlap ground truth by more than this.
PROPOSAL_IOU = 0.9


@dataclass(frozen=True, eq=False)
class KeyFrameSample:
    """The people of one key frame.

    Attributes:
        key: video id and time as the file says them, for metrics.
        source: video file or folder of pictures.
        time_s: of the key frame, from the source's first frame.
        boxes: (N, 4) float32 xyxy, shares of width and height.
        targets: (N, A) float32: 1 what they do, 0 what they do not, NaN unknown.
        place: file and line, for messages.
    """

    key: FrameKey
    source: Path
    time_s: float
    boxes: np.ndarray
    targets: np.ndarray
    place: tuple[str, int]


def read_samples(
    path: str | Path, labels: LabelMap, find_source: Callable[[str], Path | None], problems: Problems, *,
    start_s: float = 0.0, excluded: set[FrameKey] = frozenset(),  # type: ignore[assignment]
) -> list[KeyFrameSample]:
    """Read key frames.

    Args:
        path: AVA CSV with actions.
        labels: the network's columns; actions are ids or names of it.
        find_source: video id to file or folder; None where it is missing.
        problems: missing videos, unknown actions, broken rows.
        start_s: the time that sources begin at (900 for AVA movies cut to their 15th to 30th minute).
        excluded: key frames to leave out.

    Returns:
        One sample a key frame, in the file's order. Rows of one key frame with the same corners are one person.

    Raises:
        UserError: the first problem unless they are skipped; nothing is left.
    """
    people: dict[FrameKey, dict[tuple[float, ...], np.ndarray]] = {}
    first: dict[FrameKey, AvaRow] = {}
    sources: dict[str, Path | None] = {}
    for row in read_rows(path, problems):
        if row.key in excluded or row.box is None:
            continue
        column = _column(row.action, labels)
        if column is None:
            near = next((f"; perhaps {a.name!r}?" for a in labels if spelling(a.name) == spelling(row.action)), "")
            problems.add("unknown action", path, row.line, f"got action {row.action!r}, not in {labels.name}{near}")
            continue
        if row.video not in sources:
            sources[row.video] = find_source(row.video)
        if sources[row.video] is None:
            problems.add("missing video", path, row.line, f"no video {row.video!r}")
            continue
        first.setdefault(row.key, row)
        target = people.setdefault(row.key, {}).setdefault(row.box, np.zeros(len(labels), np.float32))
        if column >= 0:
            target[column] = 1
    samples = []
    for key, boxes in people.items():
        source = sources[key[0]]
        assert source is not None
        samples.append(KeyFrameSample(
            key, source, first[key].time_s - start_s, np.array(list(boxes), np.float32).clip(0, 1),
            np.stack(list(boxes.values())), (str(path), first[key].line),
        ))
    if not samples:
        raise UserError(f"{path}: no key frame is left to train on; {problems.summary() or 'the file has no box'}")
    return samples


def _column(action: str, labels: LabelMap) -> int | None:
    """Column of an id or a name; -1 for an empty one, None for one that is not there."""
    if not action:
        return -1
    if is_id(action):
        return labels.column_of_id.get(int(action))
    names = [a.name for a in labels]
    return names.index(action) if action in names else None


def is_id(text: str) -> bool:
    """Whether an action column holds a number, not a name."""
    return bool(re.fullmatch(r"-?[0-9]{1,9}", text))


def spelling(name: str) -> str:
    """A name without what people write now so, now otherwise: capitals, spaces, hyphens and underscores."""
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def labels_of_file(path: str | Path, problems: Problems) -> LabelMap:
    """The label map that a file of one's own implies: its action names in alphabetical order, ids from 1.

    A name that differs from an earlier one in capitals or spaces alone is a problem: it would be another class.

    Raises:
        UserError: no names, or numbers instead of names (these need a label file); the first problem unless skipped.
    """
    found: dict[str, tuple[str, int]] = {}
    for row in read_rows(path, problems):
        if not row.action:
            continue
        name, line = found.setdefault(spelling(row.action), (row.action, row.line))
        if name != row.action:
            problems.add("two spellings", path, row.line,
                         f"got action {row.action!r}, but {name!r} in line {line}; expected one spelling of one action")
    names = sorted(name for name, _ in found.values())
    if not names:
        raise UserError(f"{path}: no action in the seventh column; expected rows video,time,x1,y1,x2,y2,action")
    numbers = [name for name in names if is_id(name)]
    if numbers:
        raise UserError(f"{path}: actions are ids ({', '.join(numbers[:3])}); say what they mean with --labels FILE")
    return LabelMap(Path(path).stem, tuple(Action(i, name) for i, name in enumerate(names, start=1)))


def sources_beside(path: str | Path) -> Callable[[str], Path | None]:
    """Videos whose paths are relative to a CSV file."""
    folder = Path(path).parent

    def find(video: str) -> Path | None:
        candidate = folder / video
        return candidate if candidate.exists() else None

    return find


def sources_in(folder: Path) -> Callable[[str], Path | None]:
    """Videos by the names of their files without suffix, or folders of pictures by name; searched once.

    Raises:
        UserError: the folder is not there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    known: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES:
            known.setdefault(entry.name if entry.is_dir() else entry.stem, entry)
    return known.get


def add_proposals(samples: list[KeyFrameSample], path: str | Path, problems: Problems,
                  least_score: float = 0.0, start_iou: float = PROPOSAL_IOU) -> list[KeyFrameSample]:
    """Add predicted boxes that overlap a labelled person by more than 0.9, with that person's labels.

    Args:
        samples: from ground truth.
        path: AVA's predicted boxes: `video,time,x1,y1,x2,y2,[action],score`; several rows of one box count once.
        problems: of rows.
        least_score: of the boxes to use.
        start_iou: overlap that is needed.
    """
    predicted: dict[FrameKey, dict[tuple[float, ...], None]] = {}
    for row in read_rows(path, problems):
        if row.box is None:
            continue
        try:
            score = float(row.last or 1)
        except ValueError:
            problems.add("bad row", path, row.line, f"got score {row.last!r}, expected a number")
            continue
        if score >= least_score:
            predicted.setdefault(row.key, {})[row.box] = None
    result = []
    for sample in samples:
        boxes = np.array(list(predicted.get(sample.key, {})), np.float32).reshape(-1, 4)
        if len(boxes):
            overlaps = iou(boxes.astype(float), sample.boxes.astype(float))
            # An identical box is the ground truth itself.
            chosen = (overlaps.max(1) > start_iou) & (overlaps.max(1) < 1 - 1e-6)
            sample = replace(
                sample, boxes=np.concatenate([sample.boxes, boxes[chosen].clip(0, 1)]),
                targets=np.concatenate([sample.targets, sample.targets[overlaps.argmax(1)[chosen]]]),
            )
        result.append(sample)
    return result


def check_sources(samples: Iterable[KeyFrameSample], problems: Problems) -> list[KeyFrameSample]:
    """Open every video once and leave out (or refuse) what cannot be opened or is too short for its key frames."""
    from detector.data.video import END_SLACK_S

    lengths: dict[Path, float | str] = {}
    kept = []
    for sample in samples:
        if sample.source not in lengths:
            try:
                lengths[sample.source] = read_duration_s(sample.source)
            except VideoError as error:
                lengths[sample.source] = str(error)
        length = lengths[sample.source]
        if isinstance(length, str):
            problems.add("broken video", *sample.place, f"{sample.source}: {length}")
        elif not 0 <= sample.time_s <= length + END_SLACK_S:
            what = f"{sample.source} is {length:.2f} s long, the key frame is at {sample.time_s:.2f} s"
            problems.add("key frame outside its video", *sample.place, what)
        else:
            kept.append(sample)
    return kept
