"""Answers as JSON lines. Each line is flushed, so nothing written is ever lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stream.outputs.text import TextFile
from stream.results import KeyFrameResult, StatusChange, status_to_json


class JsonLines(TextFile):
    """One line a key frame and one a change of the source's status, schema 1 (see `stream.results`)."""

    def __init__(self, path: str | Path, thresholds: np.ndarray | None = None, all_scores: bool = False) -> None:
        """
        Args:
            path: of the file, or `-`.
            thresholds: (A,) scores over which an action is listed; the labels' own unless given.
            all_scores: list every action.
        """
        super().__init__(path)
        self._thresholds, self._all_scores = thresholds, all_scores

    def write(self, what: KeyFrameResult | StatusChange) -> None:
        """Append a line."""
        line = (
            status_to_json(what) if isinstance(what, StatusChange) else what.to_dict(self._thresholds, self._all_scores)
        )
        self.append(json.dumps(line, ensure_ascii=False) + "\n")
