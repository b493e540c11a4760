"""Whole videos with their labels: Kinetics and Charades, as downloaded.

    Kinetics, official CSV       label,youtube_id,time_start,time_end,split[,is_cc]   (a header line)
              files              <youtube_id>_<start 6 digits>_<end 6 digits>.mp4, or <youtube_id>.mp4, in any folder
    Kinetics, list of videos     path label_number     (or separated by a comma; PySlowFast's train.csv)
    Charades, official CSV       id,…,actions,length   with actions "c092 11.90 21.20;c147 0.00 12.60"
    Charades, frame lists        original_vido_id video_id frame_id path labels   (24 fps; labels of each frame "1,2")
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from detector.data.ava import csv_rows, is_number
from detector.data.problems import Problems
from detector.data.samples import VIDEO_SUFFIXES, is_id, spelling
from detector.errors import UserError
from detector.labels import LabelMap

CHARADES_FPS = 24.0


@dataclass(frozen=True)
class LabelledVideo:
    """A video and what happens in it.

    Attributes:
        source: video file or folder of pictures.
        spans: (column, first second, last second) of each label; 0 to infinity for a whole video.
        place: file and line, for messages.
    """

    source: Path
    spans: tuple[tuple[int, float, float], ...]
    place: tuple[str, int]

    def targets(self, num_classes: int, start_s: float = 0.0, end_s: float = float("inf")) -> np.ndarray:
        """(1, A) float32: 1 for what happens between two moments."""
        row = np.zeros((1, num_classes), np.float32)
        for column, first, last in self.spans:
            if first <= end_s and last >= start_s:
                row[0, column] = 1
        return row


def index_videos(folder: Path) -> dict[str, Path]:
    """Every video below a folder by its name without suffix, and every folder of pictures by its name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            found.setdefault(path.stem, path)
        elif path.suffix.lower() in (".jpg", ".png") and path.parent.name not in found:
            found[path.parent.name] = path.parent
    return found


def read_kinetics(path: str | Path, labels: LabelMap, folder: Path, problems: Problems) -> list[LabelledVideo]:
    """Read either of the Kinetics formats.

    Args:
        path: the CSV or list.
        labels: Kinetics' names; column numbers of a list are 0-based positions in it.
        folder: where the videos are; paths of a list may be relative to it.
        problems: of rows and missing files.
    """
    rows = list(csv_rows(path, problems))
    if rows and "youtube_id" in rows[0][1]:
        return _read_official_kinetics(path, rows, labels, folder, problems)
    videos = []
    for line, row in rows:
        fields = row if len(row) == 2 else " ".join(row).rsplit(maxsplit=1)
        if len(fields) != 2 or not is_id(fields[1]) or fields[1].startswith("-"):
            problems.add("bad row", path, line, f"got {','.join(row)!r}, expected a path and a label number")
            continue
        if int(fields[1]) >= len(labels):
            problems.add("unknown label", path, line, f"got {fields[1]}, expected 0 to {len(labels) - 1}")
            continue
        source = folder / fields[0]
        if not source.exists():
            problems.add("missing video", path, line, f"no video {source}")
            continue
        videos.append(LabelledVideo(source, ((int(fields[1]), 0.0, float("inf")),), (str(path), line)))
    return _not_empty(videos, path, problems)


def _read_official_kinetics(
    path: str | Path, rows: list[tuple[int, list[str]]], labels: LabelMap, folder: Path, problems: Problems
) -> list[LabelledVideo]:
    names = {action.name: column for column, action in enumerate(labels)}
    known = index_videos(folder)
    header = rows[0][1]
    videos = []
    for line, row in rows[1:]:
        entry = dict(zip(header, row))
        if not len(header) - 1 <= len(row) <= len(header) or not entry.get("youtube_id"):
            what = f"got {len(row)} columns ({','.join(row)[:60]!r}), expected {','.join(header)}"
            problems.add("bad row", path, line, what)
            continue
        label = entry.get("label", "").strip('"')
        if label not in names:
            near = next((f"; perhaps {name!r}?" for name in names if spelling(name) == spelling(label)), "")
            problems.add("unknown label", path, line, f"got {label!r:.60}, not in {labels.name}{near}")
            continue
        video = entry["youtube_id"]
        start, end = entry.get("time_start", ""), entry.get("time_end", "")
        wrong = [text for text in (start, end) if text and not (is_number(text) and 0 <= float(text) < 1e6)]
        if wrong:
            problems.add("bad row", path, line, f"got time {wrong[0]!r:.40}, expected seconds")
            continue
        cut = f"{video}_{int(float(start)):06d}_{int(float(end)):06d}" if start and end else video
        source = known.get(cut) or known.get(video)
        if source is None:
            problems.add("missing video", path, line, f"no video {cut} below {folder}")
            continue
        videos.append(LabelledVideo(source, ((names[label], 0.0, float("inf")),), (str(path), line)))
    return _not_empty(videos, path, problems)


def read_charades(path: str | Path, labels: LabelMap, folder: Path, problems: Problems) -> list[LabelledVideo]:
    """Read either of the Charades formats; `labels` are its 157 classes in order."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(4096)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if first.startswith("original_vido_id"):
        return _read_frame_list(path, labels, folder, problems)
    if not first.startswith("id,"):
        raise UserError(f"{path}: got a first line {first[:40].strip()!r}, expected 'id,…' or 'original_vido_id …'")
    known, videos = index_videos(folder), []
    rows = csv_rows(path, problems)
    _, header = next(rows, (0, []))
    if "id" not in header:
        raise UserError(f"{path}: got a first line {first[:40].strip()!r}, expected 'id,…'")
    for line, row in rows:
        if len(row) != len(header):
            what = f"got {len(row)} columns ({','.join(row)[:60]!r}), expected {len(header)}: {','.join(header)[:80]}"
            problems.add("bad row", path, line, what)
            continue
        entry = dict(zip(header, row))
        source = known.get(entry["id"])
        if source is None:
            problems.add("missing video", path, line, f"no video {entry['id']!r:.60} below {folder}")
            continue
        spans = []
        for part in filter(None, entry.get("actions", "").split(";")):
            span = _charades_span(part, len(labels))
            if span is None:
                what = f"got action {part!r:.60}, expected 'cNNN start end' with seconds and NNN below {len(labels)}"
                problems.add("bad row", path, line, what)
                continue
            spans.append(span)
        videos.append(LabelledVideo(source, tuple(spans), (str(path), line)))
    return _not_empty(videos, path, problems)


def _charades_span(part: str, count: int) -> tuple[int, float, float] | None:
    """(column, start, end) of `c092 11.90 21.20`; None where it is not one."""
    match = re.fullmatch(r"\s*c([0-9]{1,6})\s+(\S+)\s+(\S+)\s*", part)
    if match is None or int(match[1]) >= count or not (is_number(match[2]) and is_number(match[3])):
        return None
    return int(match[1]), float(match[2]), float(match[3])


def _read_frame_list(
    path: str | Path, labels: LabelMap, folder: Path, problems: Problems
) -> list[LabelledVideo]:
    frames: list[tuple[str, int, int, list[int]]] = []
    for line, row in csv_rows(path, problems, delimiter=" "):
        if line == 1:
            continue
        numbers = row[4].split(",") if len(row) == 5 and row[4] else []
        fits = len(row) == 5 and re.fullmatch("[0-9]{1,9}", row[2]) is not None
        if not fits or not all(re.fullmatch("[0-9]{1,6}", n) and int(n) < len(labels) for n in numbers):
            problems.add("bad row", path, line, f"got {' '.join(row)!r:.80}, expected id number frame path labels")
            continue
        frames.append((str(Path(row[3]).parent), line, int(row[2]), [int(n) for n in numbers]))
    videos = []
    for parent, group in groupby(frames, key=lambda frame: frame[0]):
        group_rows = list(group)
        if not (folder / parent).is_dir():
            problems.add("missing video", path, group_rows[0][1], f"no folder {folder / parent}")
            continue
        first = group_rows[0][2]
        spans = tuple(
            (column, (number - first) / CHARADES_FPS, (number - first) / CHARADES_FPS)
            for _, _, number, columns in group_rows for column in columns
        )
        videos.append(LabelledVideo(folder / parent, _joined(spans), (str(path), group_rows[0][1])))
    return _not_empty(videos, path, problems)


def _joined(spans: tuple[tuple[int, float, float], ...]) -> tuple[tuple[int, float, float], ...]:
    """Runs of neighbouring frames of one label as one span."""
    joined: list[tuple[int, float, float]] = []
    for column, start, end in sorted(spans):
        if joined and joined[-1][0] == column and start - joined[-1][2] < 1.5 / CHARADES_FPS:
            joined[-1] = (column, joined[-1][1], end)
        else:
            joined.append((column, start, end))
    return tuple(joined)


def _not_empty(videos: list[LabelledVideo], path: str | Path, problems: Problems) -> list[LabelledVideo]:
    if not videos:
        raise UserError(f"{path}: no video is left; {problems.summary() or 'the file is empty'}")
    return videos
