"""Where to look closer for small people: pure geometry, no network.

A detector that sees 300x300 pixels misses people of a tenth of a picture's height. Shown a crop of half the
picture's height round them, it finds them. Looking everywhere costs a dozen passes, so it looks where small people
are or were, and at one more place of a grid each time, in turn.
"""

from __future__ import annotations

import numpy as np

# Crop side over the picture's short side. On vtest.avi (people 0.13 of the height) 0.42 to 0.5 do alike.
CROP_OF_SHORT_SIDE = 0.5
MIN_CROP_PX = 160
# People taller than this much of a crop are left to the pass over the whole picture.
LARGE_OF_CROP = 0.6
OVERLAP_OF_CROP = 0.3
# A picture with sides in this ratio or more is not squeezed into a square: people would be too thin.
WIDE = 1.5

# Left, top and side of a square crop.
Crop = tuple[int, int, int]
# Someone large looked at in a crop of their own takes this part of its side.
PERSON_OF_CROP = 0.7


def crop_side(size_hw: tuple[int, int]) -> int:
    """Side in pixels of the crops that a picture is looked at in, at most its short side."""
    short = min(size_hw)
    return min(max(round(short * CROP_OF_SHORT_SIDE), MIN_CROP_PX), short)


def squares(size_hw: tuple[int, int]) -> np.ndarray:
    """(M, 2) int corners of overlapping squares along a wide or tall picture; none where it is nearly square."""
    return grid(size_hw, min(size_hw)) if max(size_hw) >= WIDE * min(size_hw) else np.zeros((0, 2), int)


def grid(size_hw: tuple[int, int], side: int) -> np.ndarray:
    """(M, 2) int left-top corners of square crops that cover a picture and overlap."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        overlap = OVERLAP_OF_CROP * side
        count = int(np.ceil((length - overlap) / (side - overlap)))
        return [round(i * (length - side) / (count - 1)) for i in range(count)]

    return np.array([(x, y) for y in starts(size_hw[0]) for x in starts(size_hw[1])])


def cover(xyxy: np.ndarray, size_hw: tuple[int, int], side: int, limit: int) -> np.ndarray:
    """Place few crops so that each box lies well inside one.

    Greedy: of all places with a box at the left and a box at the top, the one with most boxes that are not covered
    yet, its boxes centred.

    Args:
        xyxy: (N, 4) boxes, each smaller than a crop.
        size_hw: of the picture.
        side: of a crop, pixels.
        limit: at most so many crops; boxes left over stay uncovered.

    Returns:
        (M, 2) int left-top corners inside the picture, M <= limit.
    """
    h, w = size_hw
    margin = 0.06 * side
    left = np.asarray(xyxy, np.float32).reshape(-1, 4)
    corners: list[tuple[int, int]] = []
    while len(left) and len(corners) < limit:
        best = left[:1]
        for x in left[:, 0]:
            columns = left[(left[:, 0] >= x) & (left[:, 2] <= x + side - 2 * margin)]
            for y in columns[:, 1]:
                inside = columns[(columns[:, 1] >= y) & (columns[:, 3] <= y + side - 2 * margin)]
                if len(inside) > len(best):
                    best = inside
        centre = (best[:, :2].min(0) + best[:, 2:].max(0)) / 2
        x, y = np.clip(np.rint(centre - side / 2), 0, (max(w - side, 0), max(h - side, 0))).astype(int)
        corners.append((int(x), int(y)))
        left = left[~is_inside(left, (x, y), side, (h, w), 0.0)]
        left = left[~(left[:, None] == best[None]).all(-1).any(1)]
    return np.array(corners, int).reshape(-1, 2)


def crops_round(xyxy: np.ndarray, size_hw: tuple[int, int]) -> list[Crop]:
    """Square crops, each round one person or several whom it shows as large; inside the picture where that goes.

    Args:
        xyxy: (N, 4) boxes of any size; whoever is as large as the picture gets a crop of its short side.
        size_hw: of the picture.
    """
    h, w = size_hw
    crops: list[Crop] = []
    # The largest first: their crops show smaller ones beside them as well.
    for box in xyxy[np.argsort(-(xyxy[:, 2:] - xyxy[:, :2]).max(1, initial=0), kind="stable")]:
        if any(_fits(box, crop, size_hw) for crop in crops):
            continue
        side = min(int(np.ceil((box[2:] - box[:2]).max() / PERSON_OF_CROP)), h, w)
        centre = (box[:2] + box[2:]) / 2
        x, y = np.clip(np.rint(centre - side / 2), 0, (w - side, h - side)).astype(int)
        crops.append((int(x), int(y), side))
    return crops


def _fits(box: np.ndarray, crop: Crop, size_hw: tuple[int, int]) -> bool:
    """Whether a crop shows a box with some room round it, and not too small."""
    x, y, side = crop
    return bool(
        is_inside(box[None], (x, y), side, size_hw, 0.06 * side)[0] and box[3] - box[1] >= side * PERSON_OF_CROP / 2
    )


def is_inside(
    xyxy: np.ndarray, corner_xy: tuple[int, int], side: int, size_hw: tuple[int, int], border_px: float
) -> np.ndarray:
    """(N,) bool: boxes that no edge of a crop cuts; edges that are also the picture's do not count.

    Args:
        xyxy: (N, 4) in pixels of the picture.
        corner_xy: of the crop, with its `side`.
        size_hw: of the picture.
        border_px: a box nearer to an edge than this is cut.
    """
    (x, y), (h, w) = corner_xy, size_hw
    low = np.array([-np.inf if x <= 0 else x + border_px, -np.inf if y <= 0 else y + border_px])
    right, bottom = x + side, y + side
    high = np.array([np.inf if right >= w else right - border_px, np.inf if bottom >= h else bottom - border_px])
    return np.all(xyxy[:, :2] >= low, axis=1) & np.all(xyxy[:, 2:] <= high, axis=1)
