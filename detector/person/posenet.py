"""PoseNet: seventeen key points of several people in one pass, run by OpenVINO.

The weights are TensorFlow.js's PoseNet (MobileNetV1, width 0.75, stride 16; Apache-2.0): a `model.json` with the
graph and a `.bin` with its tensors. What its four outputs mean, and how a pose is followed from its strongest point
along the skeleton, is in Papandreou et al., PersonLab, ECCV 2018 (arXiv:1803.08225).
"""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.errors import UserError
from detector.weights.compiled import compile_kept

# Key points in the order of the outputs.
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(5)
LEFT_HIP, RIGHT_HIP = 11, 12
NUM_POINTS = 17
STRIDE_PX = 16
# Sides that the stride divides, plus one: cells then lie on whole pixels from edge to edge.
INPUT_PX = 385
# (parent, child) of the skeleton, nose outwards; the order is that of the displacements' channels.
SKELETON = (
    (0, 1), (1, 3), (0, 2), (2, 4), (0, 5), (5, 7), (7, 9), (5, 11), (11, 13), (13, 15), (0, 6), (6, 8), (8, 10),
    (6, 12), (12, 14), (14, 16),
)
# A cell of the heat maps over this may start a pose, unless it lies this near to the same point of another one.
START_SCORE, SAME_POINT_PX, MAX_POSES = 0.3, 20.0, 10
_OUTPUTS = ("heatmap", "offset", "displacement_fwd", "displacement_bwd")


class PoseNet:
    """The network, compiled once.

    Args:
        graph, tensors: the two files, `posenet.json` and `posenet.bin`.
        num_threads: CPU threads; 0 lets OpenVINO choose.

    Raises:
        UserError: a file is missing, cut off or not PoseNet's.
    """

    def __init__(self, graph: Path, tensors: Path, num_threads: int = 0) -> None:
        # In bf16, which OpenVINO takes where a CPU has it, scores differ by up to 0.14.
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if num_threads:
            options["INFERENCE_NUM_THREADS"] = num_threads

        def read() -> Any:
            return build_graph(json.loads(graph.read_text()), tensors.read_bytes())

        try:
            self._network = compile_kept("posenet", (graph, tensors), read, options)
        except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"posenet {graph}: cannot be read ({reason}); delete {graph.name} and {tensors.name}, "
                "then run: python -m detector.weights fetch posenet"
            ) from None

    def heatmaps(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """One pass over a picture, squeezed or stretched into the network's square.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            float32 arrays over the (25, 25) cells: (17, h, w) scores 0 to 1, (34, h, w) offsets and twice
            (32, h, w) displacements in the square's pixels, y before x.
        """
        square = cv2.resize(image, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR)
        result = self._network(square[None])
        return tuple(result[i][0] for i in range(4))

    def poses(self, image: np.ndarray) -> np.ndarray:
        """The people of a picture, best first.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            (N, 17, 3) float32: x and y in pixels of the picture, score 0 to 1; N = 0 is ordinary. One person may be
            found twice; points that are not seen are guesses with a low score.
        """
        poses = decode_poses(*self.heatmaps(image))
        poses[..., 0] *= (image.shape[1] - 1) / (INPUT_PX - 1)
        poses[..., 1] *= (image.shape[0] - 1) / (INPUT_PX - 1)
        return poses


def build_graph(description: dict[str, Any], tensors: bytes) -> Any:
    """OpenVINO's graph of a TensorFlow.js PoseNet: (1, 385, 385, 3) uint8 BGR in, the four outputs out.

    It is made of two operations, convolutions with bias and perhaps ReLU6, full and by channel.

    Raises:
        ValueError, KeyError: the files do not describe such a network.
    """
    from openvino import Model
    from openvino import opset13 as ops

    arrays = _arrays(description["weightsManifest"], tensors)
    picture = ops.parameter([1, INPUT_PX, INPUT_PX, 3], np.uint8, name="picture")
    rgb = ops.gather(picture, np.array([2, 1, 0]), np.array(3))
    scaled = ops.subtract(ops.divide(ops.convert(rgb, "f32"), np.float32(127.5)), np.float32(1.0))
    made: dict[str, Any] = {}
    for node in description["modelTopology"]["node"]:
        name, kind = node["name"], node["op"]
        if kind == "Placeholder":
            made[name] = ops.transpose(scaled, np.array([0, 3, 1, 2]))
        elif kind in ("_FusedConv2D", "FusedDepthwiseConv2dNative"):
            source, kernel, bias = node["input"]
            made[name] = _convolution(ops, made[source], arrays[kernel], arrays[bias], node["attr"], kind)
        elif kind != "Const":
            raise ValueError(f"unknown operation {kind}")
    outputs = []
    for wanted in _OUTPUTS:
        found = [name for name in made if f"/{wanted}_" in name]
        if len(found) != 1:
            raise ValueError(f"no output {wanted}")
        outputs.append(ops.sigmoid(made[found[0]]) if wanted == "heatmap" else made[found[0]])
    return Model(outputs, [picture], "posenet")


def _convolution(ops: Any, source: Any, kernel: np.ndarray, bias: np.ndarray, attributes: Any, kind: str) -> Any:
    strides = [int(i) for i in attributes["strides"]["list"]["i"]][1:3]
    fused = [b64decode(word).decode() for word in attributes["fused_ops"]["list"]["s"]]
    same, ones = "same_upper", [1, 1]
    if kind == "_FusedConv2D":  # (h, w, in, out)
        weights = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        result = ops.convolution(source, weights, strides, [0, 0], [0, 0], ones, same)
    else:  # (h, w, channels, 1), each channel its own group
        weights = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))[:, None]
        result = ops.group_convolution(source, weights, strides, [0, 0], [0, 0], ones, same)
    result = ops.add(result, bias.reshape(1, -1, 1, 1))
    return ops.clamp(result, 0.0, 6.0) if "Relu6" in fused else result


def _arrays(manifest: list[dict[str, Any]], tensors: bytes) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        if entry["dtype"] != "float32":
            raise ValueError(f"tensor {entry['name']} is {entry['dtype']}, expected float32")
        count = int(np.prod(entry["shape"]))
        arrays[entry["name"]] = np.frombuffer(tensors, np.float32, count, start).reshape(entry["shape"])
        start += 4 * count
    if start != len(tensors):
        raise ValueError(f"{len(tensors)} bytes of tensors, expected {start}")
    return arrays


def decode_poses(
    score: np.ndarray, offset: np.ndarray, forward: np.ndarray, backward: np.ndarray
) -> np.ndarray:
    """Follow each person from the strongest point along the skeleton; arguments and result as in `PoseNet`.

    Positions are in the network's pixels.
    """
    peaks = np.stack([cv2.dilate(plane, np.ones((3, 3), np.uint8)) for plane in score])
    starts = np.argwhere((score == peaks) & (score >= START_SCORE))
    starts = starts[np.argsort(-score[tuple(starts.T)], kind="stable")]
    poses: list[np.ndarray] = []
    for point, row, column in starts:
        at = _refined(offset, point, row, column)
        if any(np.hypot(*(pose[point, :2] - at)) < SAME_POINT_PX for pose in poses):
            continue
        poses.append(_follow(score, offset, forward, backward, point, at))
        if len(poses) == MAX_POSES:
            break
    poses.sort(key=lambda pose: -float(pose[:, 2].mean()))
    return np.stack(poses).astype(np.float32) if poses else np.zeros((0, NUM_POINTS, 3), np.float32)


def _follow(
    score: np.ndarray, offset: np.ndarray, forward: np.ndarray, backward: np.ndarray, start: int, at: np.ndarray
) -> np.ndarray:
    pose = np.full((NUM_POINTS, 3), np.nan)
    pose[start] = *at, score[start][_cell(at, score.shape)]
    edges = len(SKELETON)
    steps = [(child, parent, i, backward) for i, (parent, child) in reversed(list(enumerate(SKELETON)))]
    steps += [(parent, child, i, forward) for i, (parent, child) in enumerate(SKELETON)]
    for known, wanted, i, displacement in steps:
        if np.isnan(pose[known, 0]) or not np.isnan(pose[wanted, 0]):
            continue
        cell = _cell(pose[known, :2], score.shape)
        place = pose[known, :2] + (displacement[i + edges][cell], displacement[i][cell])
        for _ in range(2):
            place = _refined(offset, wanted, *_cell(place, score.shape))
        pose[wanted] = *place, score[wanted][_cell(place, score.shape)]
    return pose


def _refined(offset: np.ndarray, point: int, row: int, column: int) -> np.ndarray:
    shift = offset[point + NUM_POINTS, row, column], offset[point, row, column]
    return np.array([column * STRIDE_PX + shift[0], row * STRIDE_PX + shift[1]])


def _cell(place: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int]:
    row, column = round(float(place[1]) / STRIDE_PX), round(float(place[0]) / STRIDE_PX)
    return min(max(row, 0), shape[1] - 1), min(max(column, 0), shape[2] - 1)
