"""Where answers and pictures go: JSON lines, AVA's CSV, MP4, a window. Each can be used with any other.

Whatever is written stays readable when the program dies: text is flushed line by line, video is fragmented.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stream.results import KeyFrameResult


class JsonLines:
    """One line a key frame, schema 1 (see `stream.results.result_to_json`)."""

    def __init__(self, path: str | Path, thresholds: np.ndarray, all_scores: bool = False) -> None:
        raise NotImplementedError

    def write(self, result: KeyFrameResult) -> None:
        """Append a line."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file; may be called twice."""
        raise NotImplementedError


class AvaCsv:
    """AVA's format, no header: video, second, x1, y1, x2, y2 (0 to 1), action id, score, person id."""

    def __init__(self, path: str | Path, min_score: float = 0.01) -> None:
        raise NotImplementedError

    def write(self, result: KeyFrameResult) -> None:
        """Append a key frame's lines."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file; may be called twice."""
        raise NotImplementedError
