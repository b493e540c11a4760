"""PoseNet: its graph against torch on weights of our own, and poses from heat maps drawn by hand."""

from __future__ import annotations

import json
from base64 import b64encode

import numpy as np
import pytest
import torch
from torch.nn import functional

from detector.errors import UserError
from detector.person import posenet
from detector.person.posenet import INPUT_PX, NUM_POINTS, SKELETON, STRIDE_PX, PoseNet, decode_poses

CELLS = 25
WIDTHS = {"heatmap": 17, "offset": 34, "displacement_fwd": 32, "displacement_bwd": 32}


def words(*names: str) -> dict:
    return {"list": {"s": [b64encode(name.encode()).decode() for name in names]}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small network of PoseNet's build: full and by-channel convolutions down to stride 16, and the four heads."""
    rng = np.random.default_rng(0)
    nodes, weights, data = [{"name": "image", "op": "Placeholder"}], [], []

    def add(name, source, kind, kernel, stride, relu):
        bias = rng.normal(0, 0.1, kernel[2] if kind == "FusedDepthwiseConv2dNative" else kernel[3])
        for label, array in ((f"{name}/k", rng.normal(0, 0.4, kernel)), (f"{name}/b", bias)):
            weights.append({"name": label, "shape": list(array.shape), "dtype": "float32"})
            data.append(array.astype(np.float32))
            nodes.append({"name": label, "op": "Const"})
        nodes.append({
            "name": name, "op": kind, "input": [source, f"{name}/k", f"{name}/b"],
            "attr": {
                "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
                "fused_ops": words("BiasAdd", "Relu6") if relu else words("BiasAdd"),
            },
        })

    add("a", "image", "_FusedConv2D", (3, 3, 3, 6), 2, True)
    add("b", "a", "FusedDepthwiseConv2dNative", (3, 3, 6, 1), 2, True)
    add("c", "b", "_FusedConv2D", (1, 1, 6, 8), 1, True)
    add("d", "c", "FusedDepthwiseConv2dNative", (3, 3, 8, 1), 2, True)
    add("e", "d", "_FusedConv2D", (3, 3, 8, 8), 2, True)
    for head, width in WIDTHS.items():
        add(f"net/{head}_2/BiasAdd", "e", "_FusedConv2D", (1, 1, 8, width), 1, False)
    folder = tmp_path_factory.mktemp("posenet")
    graph = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": weights}]}
    (folder / "net.json").write_text(json.dumps(graph))
    (folder / "net.bin").write_bytes(b"".join(array.tobytes() for array in data))
    return folder / "net.json", folder / "net.bin", {w["name"]: d for w, d in zip(weights, data, strict=True)}


def with_torch(arrays: dict[str, np.ndarray], picture: np.ndarray) -> list[np.ndarray]:
    """The same network by hand. All sides are odd, so TensorFlow's SAME is one row and column on each side."""

    def conv(x, name, stride, groups, relu=True):
        kernel = torch.from_numpy(arrays[f"{name}/k"])
        kernel = kernel.permute(2, 3, 0, 1) if groups > 1 else kernel.permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2
        y = functional.conv2d(x, kernel, torch.from_numpy(arrays[f"{name}/b"]), stride, padding, groups=groups)
        return y.clamp(0, 6) if relu else y

    x = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    x = conv(x, "a", 2, 1)
    x = conv(conv(x, "b", 2, 6), "c", 1, 1)
    x = conv(conv(x, "d", 2, 8), "e", 2, 1)
    heads = [conv(x, f"net/{head}_2/BiasAdd", 1, 1, relu=False)[0] for head in WIDTHS]
    return [heads[0].sigmoid().numpy(), *(head.numpy() for head in heads[1:])]


def test_the_graph_is_what_the_files_say(files):
    graph, tensors, arrays = files
    network = PoseNet(graph, tensors, num_threads=1)
    picture = np.random.default_rng(1).integers(0, 256, (INPUT_PX, INPUT_PX, 3), np.uint8)
    for got, expected in zip(network.heatmaps(picture), with_torch(arrays, picture), strict=True):
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < 1e-4 * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("damage", ["cut", "html", "operation", "head", "type"])
def test_files_that_are_something_else_are_one_line(files, tmp_path, damage):
    graph, tensors, _ = files
    text, data = graph.read_text(), tensors.read_bytes()
    if damage == "cut":
        data = data[:-100]
    elif damage == "html":
        text = "<html>log in</html>"
    elif damage == "operation":
        text = text.replace('"FusedDepthwiseConv2dNative"', '"MaxPool"')
    elif damage == "head":
        text = text.replace("net/offset_2/BiasAdd", "net/else")
    else:
        text = text.replace('"float32"', '"uint8"', 1)
    (tmp_path / "p.json").write_text(text)
    (tmp_path / "p.bin").write_bytes(data)
    with pytest.raises(UserError, match=r"posenet .*p\.json: cannot be read .*fetch posenet") as caught:
        PoseNet(tmp_path / "p.json", tmp_path / "p.bin")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        PoseNet(tmp_path / "none.json", tmp_path / "p.bin")


def draw(people: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs that would show these people, (17, 2) points in the network's pixels each."""
    score = np.full((NUM_POINTS, CELLS, CELLS), 0.01, np.float32)
    offset = np.zeros((2 * NUM_POINTS, CELLS, CELLS), np.float32)
    forward, backward = (np.zeros((2 * len(SKELETON), CELLS, CELLS), np.float32) for _ in range(2))
    rows, columns = np.mgrid[:CELLS, :CELLS] * STRIDE_PX
    nearest = np.argmin([np.hypot(columns - p[:, 0].mean(), rows - p[:, 1].mean()) for p in people], axis=0)
    for i, person in enumerate(people):
        for k, (x, y) in enumerate(person):
            row, column = round(y / STRIDE_PX), round(x / STRIDE_PX)
            score[k, row, column] = 0.9 - 0.1 * i
            here = np.hypot(columns - x, rows - y) < 2 * STRIDE_PX
            offset[k][here], offset[k + NUM_POINTS][here] = (y - rows)[here], (x - columns)[here]
        for e, (parent, child) in enumerate(SKELETON):
            step = person[child] - person[parent]
            for field, sign in ((forward, 1), (backward, -1)):
                field[e][nearest == i] = sign * step[1]
                field[e + len(SKELETON)][nearest == i] = sign * step[0]
    return score, offset, forward, backward


def standing(x: float, y: float) -> np.ndarray:
    side = np.array([0, -6, 6, -12, 12, -20, 20, -26, 26, -30, 30, -14, 14, -14, 14, -14, 14])
    down = np.array([0, -6, -6, -3, -3, 24, 24, 48, 48, 72, 72, 80, 80, 120, 120, 160, 160])
    return np.stack([x + side, y + down], 1).astype(float)


def test_two_people_are_followed_from_their_points():
    people = [standing(90.0, 60.0), standing(290.0, 120.0)]
    poses = decode_poses(*draw(people))
    assert len(poses) == 2
    for pose, person in zip(poses, people, strict=True):
        assert np.abs(pose[:, :2] - person).max() < 1.0
    assert poses[0, :, 2].mean() > poses[1, :, 2].mean() > 0.7


def test_a_picture_without_people_has_no_poses():
    nothing = draw([standing(90.0, 60.0)])
    nothing[0][:] = 0.05
    assert decode_poses(*nothing).shape == (0, NUM_POINTS, 3)


def test_poses_are_in_pixels_of_the_picture(files, monkeypatch):
    network = PoseNet(*files[:2], num_threads=1)
    monkeypatch.setattr(posenet.PoseNet, "heatmaps", lambda self, image: draw([standing(90.0, 60.0)]))
    [pose] = network.poses(np.zeros((INPUT_PX * 2 - 1, INPUT_PX * 3 - 2, 3), np.uint8))
    assert np.allclose(pose[0, :2], (270.0, 120.0), atol=2.0)
