"""Answers as JSON lines. Each line is flushed, so nothing written is ever lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stream.outputs.text import TextFile
from stream.results import KeyFrameResult


class JsonLines(TextFile):
    """One line a key frame, schema 1 (see `stream.results.result_to_json`)."""

    def __init__(self, path: str | Path, thresholds: np.ndarray | None = None, all_scores: bool = False) -> None:
        """
        Args:
            path: of the file, or `-`.
            thresholds: (A,) scores over which an action is listed; the labels' own unless given.
            all_scores: list every action.
        """
        super().__init__(path)
        self._thresholds, self._all_scores = thresholds, all_scores

    def write(self, result: KeyFrameResult) -> None:
        """Append a line."""
        self.append(json.dumps(result.to_dict(self._thresholds, self._all_scores), ensure_ascii=False) + "\n")
