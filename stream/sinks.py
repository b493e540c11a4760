"""Where answers go as text: JSON lines and AVA's CSV. Each line is flushed, so nothing written is ever lost."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TextIO

import numpy as np

from detector.errors import UserError
from stream.results import KeyFrameResult, result_to_json

# Scores below this are left out of AVA's CSV; they do not move the metric and would make eighty lines a person.
AVA_MIN_SCORE = 0.005


def open_output(path: str | Path) -> TextIO:
    """Open a text file for writing, its folder made where it is missing; `-` is standard output.

    Raises:
        UserError: it cannot be written.
    """
    if str(path) == "-":
        return sys.stdout
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "w", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from None


class _Text:
    """A text file whose lines are on disk as soon as they are written."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._file: TextIO | None = open_output(path)

    def _append(self, text: str) -> None:
        if self._file is None:
            raise ValueError(f"{self.path}: is closed, expected to be written to before that")
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written any more ({error.strerror})") from None

    def close(self) -> None:
        """Finish the file; may be called twice."""
        file, self._file = self._file, None
        if file is not None and file is not sys.stdout:
            file.close()


class JsonLines(_Text):
    """One line a key frame, schema 1 (see `stream.results.result_to_json`)."""

    def __init__(self, path: str | Path, thresholds: np.ndarray, all_scores: bool = False) -> None:
        """
        Args:
            path: of the file, or `-`.
            thresholds: (A,) scores over which an action is listed.
            all_scores: list every action.
        """
        super().__init__(path)
        self._thresholds, self._all_scores = thresholds, all_scores

    def write(self, result: KeyFrameResult) -> None:
        """Append a line."""
        self._append(json.dumps(result_to_json(result, self._thresholds, self._all_scores), ensure_ascii=False) + "\n")


class AvaCsv(_Text):
    """AVA's prediction format, no header: video, second, x1, y1, x2, y2 (0 to 1), action id, score.

    Eight columns, as the official evaluator wants them; the second has four digits, and decimals where key frames
    are not at whole seconds. All scores from 0.005 are listed, whatever the thresholds.
    """

    def write(self, result: KeyFrameResult) -> None:
        """Append a key frame's lines."""
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
            self._append("".join(lines.text))


class _Rows:
    """Collects what a csv writer writes, so that a key frame is appended in one piece."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def write(self, line: str) -> int:
        self.text.append(line)
        return len(line)
