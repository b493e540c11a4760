"""Answers in AVA's CSV."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from stream.outputs.text import TextFile
from stream.results import KeyFrameResult, StatusChange

# Scores below this are left out of AVA's CSV; they do not move the metric and would make eighty lines a person.
AVA_MIN_SCORE = 0.005
# The end of a line: the action's number and a score of four digits.
WHOLE_LINE = re.compile(r",\d+,\d\.\d{4}$")


def looks_like_ava_csv(line: str) -> bool:
    """Whether a first line may be followed by ours; a torn one may."""
    return line.count(",") >= 7 or len(line) < 64


class AvaCsv(TextFile):
    """AVA's prediction format, no header: video, second, x1, y1, x2, y2 (0 to 1), action id, score.

    Eight columns, as the official evaluator wants them; the second has four digits, and decimals where key frames
    are not at whole seconds. All scores from 0.005 are listed, whatever the thresholds. A file that exists is appended
    to; a torn last line is cut off first.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Args:
            path: of the file, or `-`.
        """
        super().__init__(path, lambda line: WHOLE_LINE.search(line) is not None)

    def write(self, result: KeyFrameResult | StatusChange) -> None:
        """Append a key frame's lines; the format has none for the source's status."""
        if isinstance(result, StatusChange):
            return
        moment = f"{round(result.due_s):04d}"
        if abs(result.due_s - round(result.due_s)) > 1e-6:
            moment = f"{result.due_s:08.3f}"
        h, w = result.size_hw
        boxes = result.detections.boxes.xyxy / np.array([w, h, w, h], np.float32)
        lines = _Rows()
        writer = csv.writer(lines, lineterminator="\n")
        for box, scores in zip(boxes, result.detections.action_scores):
            corners = [f"{v:.4f}" for v in box]
            for j in np.flatnonzero(scores >= AVA_MIN_SCORE):
                writer.writerow([
                    Path(result.source).stem, moment, *corners, result.model.labels[int(j)].id, f"{scores[j]:.4f}"
                ])
        if lines.text:
            self.append("".join(lines.text))


class _Rows:
    """Collects what a csv writer writes, so that a key frame is appended in one piece."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def write(self, line: str) -> int:
        self.text.append(line)
        return len(line)
