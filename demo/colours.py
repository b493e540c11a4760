"""Colours of actions: they belong to the action's number in its label file, whatever else is on show. Pure."""

from __future__ import annotations

from typing import Any

from detector.labels import LabelMap

# Okabe and Ito's first, told apart by colour-blind people too; the poses of AVA are numbers 1 to 14 and each has its
# own. Lightness is in the middle, so that they show on dark and on light pages.
COLOURS = (
    "#8C6BB1", "#7F7F7F", "#CC79A7", "#B8A800", "#D55E00", "#56B4E9", "#F0E442", "#A65628", "#C2437A", "#E7298A",
    "#E69F00", "#009E73", "#44AA99", "#0072B2", "#66A61E", "#999933", "#6699CC", "#C8875A", "#AA4499", "#5F9E6E",
)


def colour_of(number: int) -> str:
    """`#rrggbb` of the action with that number in its label file."""
    return COLOURS[(number - 1) % len(COLOURS)]


def styles_of(labels: LabelMap, proven: tuple[str, ...] | None) -> dict[str, list[Any]]:
    """How each action is shown: short name to [colour, whether it is shown to work on real video].

    Args:
        labels: of a model.
        proven: names that the model's record shows to work; None for all.
    """
    return {a.short_name: [colour_of(a.id), proven is None or a.name in proven] for a in labels}
