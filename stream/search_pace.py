"""When to search a whole live picture for people, when only to look again at those who are known, and how long to rest.

Pure: times are handed in, no threads.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

# Answers a second below which the network is worth more than boxes, and above which boxes are.
FEW_ANSWERS, MANY_ANSWERS = 3.0, 6.0
# The rest after a look over the time that it took, where answers are few and where they are many.
MOST_REST_SHARE, LEAST_REST_SHARE = 2.0, 0.25
# ... but never so long that people are lost from sight between two searches.
MOST_REST_S = 0.5
# A whole search comes this often though nothing seems to move: looks have been everywhere in turn meanwhile.
SEARCH_EVERY_S = 5.0
# Where something moves that is nobody known, it comes after this, and takes at most this share of the time.
SOON_S, MOST_SEARCH_SHARE = 0.5, 0.25
# Pictures are compared in grey at this width; a cell has changed by so many of 255 levels.
WIDTH_PX, CHANGED = 80, 18
# A person of 25 by 70 pixels in a picture of 768 is 3 by 7 cells.
LEAST_CELLS = 8
# Round a known person motion is theirs, for this part of their box on each side: arms, shadows, a hurried step.
MARGIN = 0.25


class SearchPace:
    """Decides for one stream; ask `is_whole` before a look, tell `looked` after it."""

    def __init__(self, every_s: float, answers_every_s: float) -> None:
        """
        Args:
            every_s: looks come at most this often.
            answers_every_s: answers are wanted this often.
        """
        self._every_s = every_s
        # Whoever asks for few answers does not wait for more.
        self._answers_wanted = min(1.0, 0.9 / (answers_every_s * FEW_ANSWERS))
        self._searched_s, self._search_s = -math.inf, 0.0
        self._before: np.ndarray | None = None

    def begin_anew(self) -> None:
        """The next look is a whole search."""
        self._searched_s, self._before = -math.inf, None

    def is_whole(self, image: np.ndarray, people: np.ndarray, now_s: float) -> bool:
        """Whether an (H, W, 3) uint8 BGR picture is to be searched as a whole; (N, 4) boxes of who is known in it."""
        moved = self._moves_elsewhere(image, people)
        since_s = now_s - self._searched_s
        if not len(people) or since_s >= SEARCH_EVERY_S:
            return True
        return moved and since_s >= max(SOON_S, self._search_s / MOST_SEARCH_SHARE)

    def looked(self, whole: bool, started_s: float, now_s: float, worked_s: float, answers_per_s: float) -> float:
        """Seconds to rest after a look that was begun at a time and took so long, with so many answers meanwhile."""
        if whole:
            self._searched_s, self._search_s = now_s, worked_s
        few, many = FEW_ANSWERS * self._answers_wanted, MANY_ANSWERS * self._answers_wanted
        plenty = min(max((answers_per_s - few) / (many - few), 0.0), 1.0)
        share = MOST_REST_SHARE + plenty * (LEAST_REST_SHARE - MOST_REST_SHARE)
        return max(self._every_s - (now_s - started_s), min(share * worked_s, MOST_REST_S))

    def _moves_elsewhere(self, image: np.ndarray, people: np.ndarray) -> bool:
        h, w = image.shape[:2]
        size = (WIDTH_PX, max(round(WIDTH_PX * h / w), 4))
        grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        before, self._before = self._before, grey
        if before is None or before.shape != grey.shape:
            return False
        changed = cv2.absdiff(grey, before) > CHANGED
        scale = WIDTH_PX / w
        for x1, y1, x2, y2 in people:
            dx, dy = MARGIN * max(x2 - x1, y2 - y1), MARGIN * (y2 - y1)
            left, top = max(int((x1 - dx) * scale), 0), max(int((y1 - dy) * scale), 0)
            changed[top : max(int((y2 + dy) * scale) + 1, 0), left : max(int((x2 + dx) * scale) + 1, 0)] = False
        return int(np.count_nonzero(changed)) >= LEAST_CELLS
