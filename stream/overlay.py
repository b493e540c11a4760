"""Drawing what is known onto a picture. Pure: every `draw_*` takes a BGR picture and returns a new one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from stream.results import Status, Update


def draw_update(
    update: Update, thresholds: np.ndarray, *, actions_shown: Collection[int] | None = None, max_actions: int = 5,
    status_line: bool = True,
) -> np.ndarray:
    """Draw people, their actions, the status line and, for random weights, the watermark.

    Args:
        update: with a frame.
        thresholds: (A,) as of `stream.results.thresholds_for`.
        actions_shown: columns that may be shown; None for all.
        max_actions: lines a person.
        status_line: draw it.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    raise NotImplementedError


def draw_status(image: np.ndarray, status: Status) -> np.ndarray:
    """Draw the status line along the lower border."""
    raise NotImplementedError


def draw_watermark(image: np.ndarray, text: str = "UNTRAINED - random scores") -> np.ndarray:
    """Draw a warning across the picture that nobody overlooks."""
    raise NotImplementedError
