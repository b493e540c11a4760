"""The person detector that comes with the set-up: SSDLite MobileNetV2, run by OpenVINO, where to look and what to keep.

The graph (`ssdlite_graph.py`) sees 300x300 pixels. One picture is looked at in several passes side by side: as a
whole, and closely where people are small. Its one class is a person.
"""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np

from detector.person.ssdlite_graph import INPUT_PX, SsdliteGraph
from detector.person.tiling import LARGE_OF_CROP, Crop, cover, crop_side, crops_round, grid, is_inside, squares
from detector.types import Boxes
from detector.weights.zoo import DETECTOR_MODELS

# A score over which the pass over the whole picture says where a closer look may pay.
HINT_SCORE = 0.1
# Boxes of one person from two crops overlap more than this; two people side by side less.
SAME_PERSON_IOU = 0.5
MAX_CROPS = 8
# A box nearer to a crop's edge than this part of its side counts as cut.
EDGE_OF_CROP = 0.01
# From close by, an arm or a leg looks like someone small: inside a far larger person it takes this score to be one.
PART_SCORE, PART_OF_AREA, PART_INSIDE = 0.7, 0.2, 0.8
# Instead of a crop's side: the picture as it is.
WHOLE = 0
_NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


class SsdliteDetector:
    """Finds people with SSDLite, small ones by a closer look; see `PersonDetector`.

    It expects pictures of one video, in order: it looks closer where it found small people before. The first
    picture, and each of another size, is looked at everywhere; so is every picture with `everywhere`.

    Args:
        threshold: confidence over which a box is a person; None for the calibrated one.
        everywhere: look closer everywhere in each picture, a dozen passes: for pictures that are not one video.
        num_threads: CPU threads; 0 lets OpenVINO choose.

    Raises:
        UserError: the package with the graph is not installed, or its file cannot be read.
    """

    name = "ssdlite (openvino)"
    notice = "people: ssdlite (openvino)"

    def __init__(self, threshold: float | None = None, everywhere: bool = False, num_threads: int = 0) -> None:
        self.threshold = DETECTOR_MODELS["ssdlite"].threshold if threshold is None else threshold
        self.everywhere = everywhere
        self._network: Any = _compile(num_threads)
        self._turn: int
        self._part: int
        self._forget()

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        size_hw = image.shape[:2]
        # A wide picture squeezed into a square has too thin people; what both passes find is merged below.
        coarse = _joined(self._look(image, _coarse(size_hw)))
        side = crop_side(size_hw)
        corners = self._corners(size_hw, side, coarse[0][coarse[1] >= HINT_SCORE])
        return self._seen_in(image, coarse, corners, [])

    def look_again(self, image: np.ndarray, people: np.ndarray) -> Boxes:
        """Find people again where they are thought to be, and somebody new in turn: as `detect`, in fewer passes.

        Of the passes that look for others, over the whole picture and over the grid, one is taken each time, so that
        all is looked at in some pictures.

        Args:
            image: (H, W, 3) uint8 BGR, the next picture of the video.
            people: (N, 4) where those who are known are thought to be.
        """
        size_hw = image.shape[:2]
        if self.everywhere or size_hw != self._size_hw:
            return self.detect(image)
        side = crop_side(size_hw)
        turns = [*_coarse(size_hw), None]
        self._part = (self._part + 1) % len(turns)
        turn = turns[self._part]
        people = Boxes(people, np.ones(len(people))).clip_to(size_hw).xyxy
        is_small = people[:, 3] - people[:, 1] <= LARGE_OF_CROP * side
        corners = cover(np.concatenate([people[is_small], self._hints]), size_hw, side, MAX_CROPS)
        if turn is None:
            corners = np.concatenate([corners, self._next_place(size_hw, side)])
        large = crops_round(people[~is_small], size_hw)[: max(MAX_CROPS - len(corners), 1)]
        return self._seen_in(image, _NOTHING, corners, [*large, *([turn] if turn is not None else [])])

    def _seen_in(
        self, image: np.ndarray, coarse: tuple[np.ndarray, np.ndarray], corners: np.ndarray, large: list[Crop]
    ) -> Boxes:
        """Look at crops of a picture and put together what they and coarse passes show.

        Args:
            image: the picture.
            coarse: boxes and scores, all of which larger crops show.
            corners: (M, 2) of the crops for small people.
            large: further larger crops.
        """
        size_hw, n = image.shape[:2], len(corners)
        side = crop_side(size_hw)
        seen = self._look(image, [*((int(x), int(y), side) for x, y in corners), *large])
        xyxy, score = _joined([coarse, *seen[n:]])
        # Of small people, a closer look knows better; two side by side look like one from afar.
        stale = np.zeros(len(xyxy), bool)
        for x, y in corners:
            stale |= is_inside(xyxy, (x, y), side, size_hw, 3 * EDGE_OF_CROP * side)
        is_small = xyxy[:, 3] - xyxy[:, 1] <= LARGE_OF_CROP * side
        stale &= is_small
        self._hints = xyxy[~stale & is_small & (score >= HINT_SCORE)]
        boxes = _suppress(*_joined([(xyxy[~stale], score[~stale]), *seen[:n]]), self.threshold)
        self._size_hw = size_hw
        self._seen = boxes.xyxy
        return boxes.clip_to(size_hw)

    def _corners(self, size_hw: tuple[int, int], side: int, hints: np.ndarray) -> np.ndarray:
        """(M, 2) left-top corners of the crops to look at now."""
        if self.everywhere or size_hw != self._size_hw:
            return grid(size_hw, side)
        wanted = np.concatenate([self._seen, hints])
        small = wanted[:, 3] - wanted[:, 1] <= LARGE_OF_CROP * side
        return np.concatenate([cover(wanted[small], size_hw, side, MAX_CROPS), self._next_place(size_hw, side)])

    def _next_place(self, size_hw: tuple[int, int], side: int) -> np.ndarray:
        """(1, 2) corner of the grid's next place."""
        places = grid(size_hw, side)
        self._turn = (self._turn + 1) % len(places)
        return places[self._turn : self._turn + 1]

    def _look(self, image: np.ndarray, crops: list[Crop]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Passes over crops: boxes in pixels of the picture and scores, of people that no crop's edge cuts."""
        self.passes += len(crops)
        size_hw, pictures, seen = image.shape[:2], [], []
        for x, y, side in crops:
            crop = image if side == WHOLE else image[y : y + side, x : x + side]
            small = cv2.resize(crop, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR)
            pictures.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        found = self._network(pictures, min(HINT_SCORE, self.threshold))
        for (x, y, side), (shares, score) in zip(crops, found):
            h, w = size_hw if side == WHOLE else image[y : y + side, x : x + side].shape[:2]
            xyxy = (shares * np.array([w, h, w, h]) + np.array([x, y, x, y])).astype(np.float32)
            if side != WHOLE:
                whole = is_inside(xyxy, (x, y), side, size_hw, EDGE_OF_CROP * side)
                xyxy, score = xyxy[whole], score[whole]
            seen.append((xyxy, score))
        return seen

    def fork(self) -> SsdliteDetector:
        """The same detector for another stream: it shares the network and has seen no picture yet."""
        other = copy.copy(self)
        other._forget()
        return other

    def close(self) -> None:
        """Free the network."""
        self._network = None

    def _forget(self) -> None:
        self.passes = 0
        self._size_hw = (0, 0)
        self._seen = self._hints = np.zeros((0, 4), np.float32)
        self._turn = self._part = 0


def _compile(num_threads: int) -> Any:
    return SsdliteGraph(num_threads)


def _coarse(size_hw: tuple[int, int]) -> list[Crop]:
    """The whole picture, and the squares of a wide one."""
    return [(0, 0, WHOLE), *((int(x), int(y), min(size_hw)) for x, y in squares(size_hw))]


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    parts = parts or [_NOTHING]
    return np.concatenate([xyxy for xyxy, _ in parts]), np.concatenate([score for _, score in parts])


def _suppress(xyxy: np.ndarray, score: np.ndarray, threshold: float) -> Boxes:
    """Keep boxes over the threshold, best first, of each person only the best."""
    keep = score >= threshold
    xyxy, score = xyxy[keep], score[keep]
    if not len(xyxy):
        return Boxes.empty()
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    best = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), score.tolist(), 0.0, SAME_PERSON_IOU)).reshape(-1)
    return _without_parts(Boxes(xyxy[best], score[best]))


def _without_parts(boxes: Boxes) -> Boxes:
    """Drop boxes that are rather a limb of someone large."""
    if not len(boxes):
        return boxes
    inner, outer = boxes.xyxy[:, None], boxes.xyxy[None]
    shared = (np.minimum(inner[..., 2:], outer[..., 2:]) - np.maximum(inner[..., :2], outer[..., :2])).clip(0).prod(-1)
    area = np.maximum((boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(-1), 1e-6)
    is_part = (shared > PART_INSIDE * area[:, None]) & (area[:, None] < PART_OF_AREA * area[None])
    return boxes[~(is_part.any(1) & (boxes.score < PART_SCORE))]
