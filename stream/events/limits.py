"""Scores from which an action counts where a rule does not say: chosen on real video for the bundled model."""

from __future__ import annotations

OVER = 0.6
# `python -m stream.events measure` prints the table that these come from.
OVER_OF: dict[str, float] = {}
# An action ends under this share of the score over which it began.
UNDER_SHARE = 0.7


def default_over(action: str) -> float:
    """The score over which an action begins."""
    return OVER_OF.get(action, OVER)
