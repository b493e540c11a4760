"""Faster R-CNN on an engine gives torchvision's own boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models import detection

from detector.errors import UserError
from detector.person.faces import FaceFinder
from detector.person.faster_rcnn_torchvision import PERSON, TorchvisionDetector
from engine_build.clips import drawn_picture
from engine_build.person import EngineFasterRcnn, accelerate, build_person_detector

# Half a pixel and 0.01: what the product promises.
PIXELS, SCORE = 0.5, 0.01


def network_of(builder):
    """Random weights, batch norms that have seen a picture: boxes with spread scores, as many as are asked for."""
    torch.manual_seed(0)
    network = builder(weights=None, weights_backbone=None, box_score_thresh=0.02, box_detections_per_img=20)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    network.train()
    with torch.no_grad():
        network.backbone(torch.randn(1, 3, 224, 256))
    torch.nn.init.normal_(network.roi_heads.box_predictor.cls_score.weight, std=0.3)
    return network.eval()


def worst_differences(expected, found):
    """Largest differences of corners and scores over pairs that overlap most; boxes with no partner count as lost."""
    corners = scores = 0.0
    lost = 0
    for box, score, label in zip(expected["boxes"], expected["scores"], expected["labels"]):
        same = found["labels"] == label
        if not same.any():
            lost += 1
            continue
        distances = (found["boxes"][same] - box).abs().amax(1)
        best = int(distances.argmin())
        if distances[best] > 8:
            lost += 1
            continue
        corners = max(corners, float(distances[best]))
        scores = max(scores, abs(float(found["scores"][same][best] - score)))
    return corners, scores, lost


def assert_same_boxes(expected, found):
    """No box is lost, and none is further off than the product promises."""
    corners, scores, lost = worst_differences(expected, found)
    assert lost == 0
    assert corners <= PIXELS
    assert scores <= SCORE


@pytest.mark.parametrize("builder", [
    detection.fasterrcnn_mobilenet_v3_large_320_fpn,
    pytest.param(detection.fasterrcnn_resnet50_fpn, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    pytest.param(detection.fasterrcnn_resnet50_fpn_v2, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
], ids=["mobilenet", "resnet50", "resnet50_v2"])
def test_boxes_are_torchvisions_own(builder, tmp_path):
    network = network_of(builder)
    made = build_person_detector(network, "random", precision="fp32", cache_dir=tmp_path, report=lambda line: None)
    for seed, size in ((1, (240, 320)), (2, (300, 200))):
        rgb = torch.from_numpy(drawn_picture(size, seed)[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            expected = network([rgb])[0]
        assert len(expected["boxes"]) >= 5
        assert_same_boxes(expected, made.detect_all([rgb])[0])
    made.close()
    made.close()


@pytest.mark.slow
@pytest.mark.ci
def test_people_alone_come_back_best_first(tmp_path):
    network = network_of(detection.fasterrcnn_mobilenet_v3_large_320_fpn)
    network.roi_heads.box_predictor.cls_score.bias.data[PERSON] += 30  # random weights call few boxes a person
    made = build_person_detector(
        network, "random", precision="fp32", threshold=0.0, cache_dir=tmp_path, report=lambda line: None
    )
    image = drawn_picture((240, 320), 3)
    boxes = made.detect(image)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        expected = network([rgb])[0]
    assert len(boxes) == int((expected["labels"] == PERSON).sum()) > 0
    assert (np.diff(boxes.score) <= 0).all()
    made.close()


@pytest.mark.slow
@pytest.mark.ci
def test_int8_without_pictures_is_one_line(tmp_path):
    network = network_of(detection.fasterrcnn_mobilenet_v3_large_320_fpn)
    with pytest.raises(UserError, match="int8 needs pictures"):
        build_person_detector(network, "random", precision="int8", cache_dir=tmp_path, report=lambda line: None)


@pytest.mark.slow
@pytest.mark.ci
def test_a_torchvision_detector_on_the_cpu_gets_an_engine_and_keeps_its_boxes(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    network = network_of(detection.fasterrcnn_mobilenet_v3_large_320_fpn)
    network.roi_heads.box_predictor.cls_score.bias.data[PERSON] += 30
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    plain = TorchvisionDetector("torchvision_mobilenet", tmp_path / "weights.pth", threshold=0.3)
    image = drawn_picture((240, 320), 3)
    expected = plain.detect(image)
    made = accelerate(plain, report=lambda line: None)
    assert isinstance(made, EngineFasterRcnn)
    assert "torchvision_mobilenet (openvino fp32)" in made.notice
    found = made.detect(image)
    assert len(found) == len(expected) > 0
    assert np.abs(found.xyxy - expected.xyxy).max() <= PIXELS
    assert np.abs(found.score - expected.score).max() <= SCORE
    made.close()


def test_other_detectors_stay_as_they_are():
    other = object()
    assert accelerate(other) is other


@pytest.mark.slow
@pytest.mark.ci
def test_a_search_for_faces_goes_round_the_engine_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    network = network_of(detection.fasterrcnn_mobilenet_v3_large_320_fpn)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    plain = FaceFinder(TorchvisionDetector("torchvision_mobilenet", tmp_path / "weights.pth", threshold=0.3), None)
    plain.notice = f"people: {plain.name}; more"
    made = accelerate(plain, report=lambda line: None)
    assert isinstance(made, FaceFinder)
    assert isinstance(made.people, EngineFasterRcnn)
    assert made.notice == f"people: {made.name}; more"
    assert "(openvino fp32) + faces" in made.name
    made.close()
