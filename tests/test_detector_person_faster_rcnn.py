"""Faster R-CNN adapters with random weights: which boxes they keep, and which files they refuse."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.person.faster_rcnn_torchvision import PERSON, TorchvisionDetector, architecture_of
from detector.person.select import create_person_detector
from detector.person.state import load_detector_weights


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory):
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(network.state_dict(), path)
    return path


class Found:
    """A network that says what it is told to."""

    def __init__(self, boxes, labels, scores) -> None:
        self.result = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels),
            "scores": torch.tensor(scores),
        }

    def __call__(self, pictures):
        self.seen = pictures[0]
        return [self.result]


@pytest.fixture(scope="module")
def built(weights_path):
    detector = TorchvisionDetector("torchvision_mobilenet", weights_path)
    return detector, detector.network


@pytest.fixture
def detector(built):
    detector = built[0]
    detector.network = built[1]
    detector.threshold = 0.8
    return detector


def test_real_network_runs_on_odd_sizes_and_finds_nobody_in_noise(detector):
    image = np.random.default_rng(0).integers(0, 255, (37, 101, 3), dtype=np.uint8)
    assert len(detector.detect(image)) == 0  # random weights are sure of nothing


def test_weights_are_those_of_the_file(detector, weights_path):
    state = torch.load(weights_path, weights_only=True)
    loaded = detector.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert not detector.network.training


def test_people_over_the_threshold_are_kept_best_first_inside_the_picture(detector):
    boxes = [[0, 0, 10, 10], [5, 5, 900, 50], [1, 1, 5, 5], [2, 2, 9, 9]]
    detector.network = Found(boxes, [PERSON, PERSON, PERSON + 1, PERSON], [0.85, 0.95, 0.99, 0.79])
    found = detector.detect(np.zeros((60, 80, 3), np.uint8))
    np.testing.assert_array_equal(found.xyxy, [[5, 5, 80, 50], [0, 0, 10, 10]])
    np.testing.assert_allclose(found.score, [0.95, 0.85])
    detector.threshold = 0.9
    assert len(detector.detect(np.zeros((60, 80, 3), np.uint8))) == 1


def test_the_network_is_shown_rgb_between_0_and_1(detector):
    detector.network = Found([], torch.zeros(0, dtype=torch.int64).tolist(), [])
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51  # OpenCV's blue and red
    assert len(detector.detect(image)) == 0
    assert detector.network.seen.shape == (3, 4, 6)
    np.testing.assert_allclose(detector.network.seen[:, 0, 0], [0.2, 0, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"<!DOCTYPE html><html>", "web page"), (b"", "empty"), (b"PK\x03\x04cut", "truncated"),
     (b"hello", "not a weights")],
)
def test_files_that_are_no_weights_are_refused(tmp_path, content, message):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_detector_weights(torch.nn.Linear(3, 2), path, "x")


def test_weights_of_another_network_are_refused(weights_path):
    with pytest.raises(UserError, match=r"not those of torchvision_resnet50 .*fetch torchvision_resnet50"):
        load_detector_weights(torch.nn.Linear(3, 2), weights_path, "torchvision_resnet50")


class Danger:
    def __reduce__(self):
        return os.system, ("false",)


@pytest.mark.parametrize("save", [lambda x, p: torch.save(x, p), lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_file_that_would_run_code_is_refused(tmp_path, save):
    path = tmp_path / "w.pth"
    save({"model": {"a": Danger()}}, path)
    with pytest.raises(UserError, match="run"):
        load_detector_weights(torch.nn.Linear(2, 2), path, "x")


@pytest.mark.parametrize("as_numpy", [False, True], ids=["detectron2 saves", "the model zoo has"])
def test_both_of_detectron2s_containers_load(tmp_path, as_numpy):
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    path = tmp_path / "model_final.pkl"
    if as_numpy:
        state = {name: tensor.numpy() for name, tensor in other.state_dict().items()}
        path.write_bytes(pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}))
    else:
        torch.save({"model": other.state_dict(), "iteration": 3}, path)
    load_detector_weights(network, path, "x")
    assert torch.equal(network.weight, other.weight)


@pytest.mark.parametrize("change", [{"bias": torch.zeros(5)}, {"extra": torch.zeros(1)}])
def test_one_wrong_tensor_is_enough_to_refuse(tmp_path, change):
    path = tmp_path / "w.pth"
    torch.save({**torch.nn.Linear(3, 2).state_dict(), **change}, path)
    with pytest.raises(UserError, match=f"1 tensors do not fit; {next(iter(change))}"):
        load_detector_weights(torch.nn.Linear(3, 2), path, "x")


@pytest.mark.detectron2
def test_detectron2_runs_with_random_weights():
    pytest.importorskip("detectron2")
    from detector.person.faster_rcnn_detectron2 import Detectron2Detector

    detector = Detectron2Detector("detectron2_r50", None)
    assert len(detector.detect(np.zeros((60, 80, 3), np.uint8))) == 0
    detector.close()


def test_a_file_of_ones_own_is_taken_for_the_network_it_belongs_to(weights_path, tmp_path, monkeypatch):
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    detector = create_person_detector(str(weights_path), device="cpu")
    assert detector.name == "torchvision_mobilenet w.pth (cpu)"
    assert detector.threshold == 0.8
    assert create_person_detector(str(weights_path), threshold=0.4, device="cpu").threshold == 0.4
    names = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    torch.save(names, tmp_path / "big.pth")
    assert architecture_of(tmp_path / "big.pth") == "torchvision_resnet50"


def test_files_that_are_no_persons_weights_are_refused_in_one_line(tmp_path):
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for name, message in ((tmp_path / "other.pth", "not of torchvision_mobilenet or"), ("gone.pth", "no such file")):
        with pytest.raises(UserError, match=message) as caught:
            create_person_detector(str(name), device="cpu")
        assert "\n" not in str(caught.value)
