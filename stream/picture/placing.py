"""Where labels go: inside the picture, near their box, never on each other. Pure arithmetic on rectangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# How far from its box a label may be moved before a shorter one is tried, in heights of the label.
REACH = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Upper left corner of a label, which of its forms was taken, and whether it lies away from its box."""

    x: int
    y: int
    option: int
    away: bool = False


def place_labels(
    xyxy: np.ndarray, sizes: list[list[tuple[int, int]]], area_hw: tuple[int, int]
) -> list[Place | None]:
    """Choose a place for each person's label.

    Above the box is best, then inside its upper edge, below, beside it, then further away. Of places that are free
    of other labels the one that covers least of other people's boxes is taken. A label that fits nowhere is tried
    in its shorter forms.

    Args:
        xyxy: (N, 4) boxes; earlier ones choose first, so keep their order from picture to picture.
        sizes: for each box (height, width) of its label's forms, fullest first.
        area_hw: labels stay within this height and width.

    Returns:
        For each box its place, None where not even the shortest form fits.
    """
    taken: list[tuple[int, int, int, int]] = []
    places: list[Place | None] = []
    for i, box in enumerate(xyxy):
        place = None
        for option, size_hw in enumerate(sizes[i]):
            place = _best(box, size_hw, option, np.delete(xyxy, i, axis=0), taken, area_hw)
            if place is not None:
                taken.append((place.x, place.y, place.x + size_hw[1], place.y + size_hw[0]))
                break
        places.append(place)
    return places


def _best(
    box: np.ndarray, size_hw: tuple[int, int], option: int, others: np.ndarray,
    taken: list[tuple[int, int, int, int]], area_hw: tuple[int, int],
) -> Place | None:
    h, w = size_hw
    area_h, area_w = area_hw
    if h > area_h or w > area_w:
        return None
    best: tuple[float, Place] | None = None
    for rank, (x, y, away) in enumerate(_candidates(box, h, w)):
        x, y = min(max(x, 0), area_w - w), min(max(y, 0), area_h - h)
        rectangle = (x, y, x + w, y + h)
        if any(_overlap(rectangle, other) > 0 for other in taken):
            continue
        covered = sum(_overlap(rectangle, other) for other in others) / (h * w)
        cost = covered + 0.12 * rank
        if best is None or cost < best[0]:
            best = (cost, Place(x, y, option, away))
    return best[1] if best else None


def _candidates(box: np.ndarray, h: int, w: int) -> list[tuple[int, int, bool]]:
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    near = [
        (x1, y1 - h - 1, False), (x2 - w, y1 - h - 1, False), (x1 + 2, y1 + 2, False),
        (x1, y2 + 1, False), (x2 + 2, y1, False), (x1 - w - 2, y1, False),
    ]
    far = [(x1, y1 - h - 1 - step * h // 2, True) for step in range(1, 2 * REACH)]
    far += [(x1, y2 + 1 + step * h // 2, True) for step in range(1, 2 * REACH)]
    return near + far


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int] | np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(width * height) if width > 0 and height > 0 else 0.0
