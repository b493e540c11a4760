"""Answers as JSON lines. Each line is on disk as soon as it is written, so nothing written is ever lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stream.outputs.text import TextFile
from stream.results import KeyFrameResult, StatusChange, status_to_json


def looks_like_json_lines(line: str) -> bool:
    """Whether a first line may be followed by ours."""
    return line.startswith("{")


class JsonLines(TextFile):
    """One line a key frame and one a change of the source's status, schema 1 (see `stream.results`).

    A file that exists is appended to; a torn last line is cut off first.
    """

    def __init__(self, path: str | Path, thresholds: np.ndarray | None = None, all_scores: bool = False) -> None:
        """
        Args:
            path: of the file, or `-`.
            thresholds: (A,) scores over which an action is listed; the labels' own unless given.
            all_scores: list every action.
        """
        super().__init__(path, _is_json)
        self._thresholds, self._all_scores = thresholds, all_scores
        # A terminal that knows ASCII only gets escapes, which are JSON too.
        encoding = getattr(self._stdout, "encoding", None) or "utf-8"
        self._ascii = encoding.lower().replace("-", "") != "utf8"

    def write(self, what: KeyFrameResult | StatusChange) -> None:
        """Append a line."""
        line = (
            status_to_json(what) if isinstance(what, StatusChange)
            else what.to_dict(self._thresholds, self._all_scores)
        )
        self.append(json.dumps(line, ensure_ascii=self._ascii) + "\n")


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
