"""Records: facts that the published networks themselves must confirm."""

from __future__ import annotations

import re

import pytest

from detector.slowfast.network import ActionNetwork
from detector.weights.zoo import AUTO_ACTION, AUTO_DETECTOR, DETECTOR_MODELS, POSENET, RECOMMENDED, action_models

MODELS = list(action_models().values())


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_record_does_not_contradict_itself(model):
    assert model.network.num_classes == len(model.labels)
    # A Slow-only network is shown its T frames alone.
    assert model.network.num_frames == model.sampling.num_frames
    assert model.sampling.span_s == pytest.approx(128 / 30 if model.network.num_frames == 64 else 64 / 30)
    assert model.weights.url.startswith("https://")
    assert model.weights.filename.endswith(model.weights.url.rsplit("/", 1)[1])
    assert model.weights.licence
    assert model.accuracy
    assert (model.network.head == "detection") == (model.labels.name == "ava")


def test_files_and_names_are_unique():
    files = [m.weights.filename for m in MODELS + list(DETECTOR_MODELS.values()) if m.weights]
    assert len(set(files)) == len(files)
    assert not set(action_models()) & set(DETECTOR_MODELS)


# Millions of parameters as PyTorchVideo's model zoo states them.
@pytest.mark.parametrize(
    ("name", "millions"),
    [("slowfast_8x8_r50_k400_ptv", 34.57), ("slowfast_8x8_r101_k400_ptv", 62.83),
     ("slowfast_16x8_r101_k400_ptv", 53.77),
     ("slow_4x16_r50_k400", 32.45), ("slow_8x8_r50_k400", 32.45), ("slowfast_8x8_r50", 33.8)],
)
def test_networks_have_the_published_number_of_parameters(name, millions):
    import torch

    with torch.device("meta"):
        network = ActionNetwork(action_models()[name].network)
    # Published counts are rounded.
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_choices_name_records():
    for names in AUTO_ACTION.values():
        assert set(names) <= set(action_models())
    for names in AUTO_DETECTOR.values():
        assert set(names) <= set(DETECTOR_MODELS)
    for names in RECOMMENDED.values():
        assert set(names) <= set(action_models()) | set(DETECTOR_MODELS) | {POSENET.name}


def test_the_torchvision_files_are_those_that_torchvision_names():
    from torchvision.models import detection

    published = {
        "torchvision_mobilenet": detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1.url,
        "torchvision_resnet50": detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url,
    }
    for name, url in published.items():
        weights = DETECTOR_MODELS[name].weights
        assert weights.url == url
        assert re.search(r"-([0-9a-f]{8})\.pth", url)[1] == weights.sha256


def test_the_detectron2_prefixes_are_those_in_the_file_names():
    assert DETECTOR_MODELS["detectron2_r50"].weights.md5_prefix == "280758"
    assert DETECTOR_MODELS["detectron2_x101"].weights.md5_prefix == "68b088"
