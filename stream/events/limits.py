"""Scores from which an action counts where a rule does not say."""

from __future__ import annotations

# Chosen on real video with the bundled model; `python -m stream.events measure` prints the table that it comes from.
OVER = 0.6
# An action ends under this share of the score over which it began.
UNDER_SHARE = 0.7


def default_over(limit: float | None = None) -> float:
    """The score over which an action makes an event: no less than that over which its model shows it.

    Args:
        limit: of the action in the model's record; None where it has none.
    """
    return OVER if limit is None else max(OVER, float(limit))
