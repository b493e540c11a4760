"""Faster R-CNN on TensorRT: the exported graph, engines built ahead of time, and the detector round a stand-in GPU."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.models.resnet import Bottleneck

from detector.errors import UserError
from detector.person.faster_rcnn_torchvision import PERSON, TorchvisionDetector
from engine_build import person, targets
from engine_build.build_tensorrt import PictureProfile, build_engine_file, is_fp32, make_logger
from engine_build.clips import drawn_picture
from engine_build.person import accelerate, build_person_detector
from engine_build.person_part import (
    copied_part,
    export_convolutional_part,
    fold_batch_norms,
    output_names,
    picture_profile,
)
from engine_build.run_tensorrt import TensorRtPictures
from tests import engine_build_fakes
from tests.test_engine_build_person import PIXELS, SCORE, assert_same_boxes, network_of
from tests.test_engine_build_tensorrt import COMPUTE_CAPABILITIES, need_gpu

MOBILENET, R50 = detection.fasterrcnn_mobilenet_v3_large_320_fpn, detection.fasterrcnn_resnet50_fpn_v2
BOTH = [MOBILENET, pytest.param(R50, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
IDS = ["mobilenet", "resnet50_v2"]
# Relative error of the exported graph's worst output.
EXPORT_ERROR = {"fp32": 1e-4, "fp16": 5e-3}


def calm_network(builder):
    """Random weights whose residual branches add a little, as trained ones do.

    Left as large as the trunk, each doubles an error: after R50's 16, fp16 is 15 % off and bf16 60 %.
    """
    network = network_of(builder)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.data.fill_(0.3)
        elif isinstance(module, InvertedResidual) and module.use_res_connect:
            module.block[-1][1].weight.data.fill_(0.3)
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(builder, precision) → network and path, each exported once."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxslim")
    folder, networks, paths = tmp_path_factory.mktemp("onnx"), {}, {}

    def export(builder, precision):
        if builder not in networks:
            networks[builder] = calm_network(builder)
        if (builder, precision) not in paths:
            path = folder / f"{builder.__name__}-{precision}.onnx"
            export_convolutional_part(networks[builder], path, precision)
            paths[builder, precision] = path
        return networks[builder], paths[builder, precision]

    return export


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("builder", BOTH, ids=IDS)
def test_the_exported_part_equals_torch_for_any_size(exported, builder, precision):
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path = exported(builder, precision)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == output_names(network)
    for size_hw in ((224, 320), (320, 192)):
        picture = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = copied_part(network)(picture)
        found = session.run(None, {"picture": picture.numpy()})
        for a, b in zip(expected, found, strict=True):
            assert b.dtype == np.float32
            assert np.linalg.norm(a.numpy() - b) < EXPORT_ERROR[precision] * a.norm()


def test_folding_leaves_no_batch_norm_and_changes_nothing():
    part = copied_part(network_of(MOBILENET))
    picture = torch.randn(1, 3, 96, 128)
    with torch.inference_mode():
        expected = part(picture)
        fold_batch_norms(part)
        found = part(picture)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in part.modules())
    assert max(float((a - b).norm() / a.norm()) for a, b in zip(expected, found)) < 1e-4


@pytest.mark.parametrize("compute_capability", COMPUTE_CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("builder", BOTH, ids=IDS)
def test_rtx_engines_are_built_without_a_gpu(exported, tmp_path, builder, precision, compute_capability):
    trt = pytest.importorskip("tensorrt_rtx")
    network, path = exported(builder, precision)
    engine = tmp_path / "detector.engine"
    build_engine_file("tensorrt_rtx", path, engine, picture_profile(network.transform),
                      compute_capability=compute_capability, report=lambda line: None)
    weights = sum(p.numel() for p in copied_part(network).parameters())
    assert engine.stat().st_size > weights * (4 if precision == "fp32" else 2)
    logger = make_logger(trt, [])
    parsed = trt.Builder(logger).create_network(0)
    assert trt.OnnxParser(parsed, logger).parse_from_file(str(path))
    assert is_fp32(trt, parsed) is (precision == "fp32")


@pytest.mark.parametrize(("builder", "expected"), [
    (MOBILENET, PictureProfile((32, 32), (320, 576), (640, 640))),
    (R50, PictureProfile((32, 32), (768, 1344), (1344, 1344))),
], ids=IDS)
def test_the_profile_holds_every_size_that_torchvision_makes(builder, expected):
    with torch.device("meta"):  # only its transform matters
        transform = builder(weights=None, weights_backbone=None).transform
    profile = picture_profile(transform)
    assert profile == expected
    for size_hw in ((720, 1280), (1280, 720), (480, 640), (64, 64), (100, 2000), (30, 3000)):
        h, w = transform.eval()([torch.zeros(3, *size_hw)])[0].tensors.shape[2:]
        assert all(low <= n <= high for low, n, high in zip(profile.least_hw, (h, w), profile.most_hw))
        assert size_hw != (720, 1280) or (h, w) == profile.usual_hw


@pytest.fixture
def gpu(monkeypatch, exported):
    """A stand-in GPU, and TensorRT whose engine file is the ONNX that it is given, exported once for all tests."""
    fake = engine_build_fakes.install(monkeypatch)
    monkeypatch.setattr(targets, "choose_target", lambda wanted: "tensorrt" if wanted == "auto" else wanted)
    monkeypatch.setattr(targets, "device_name", lambda target: "a stand-in")
    monkeypatch.setattr(
        person, "build_engine_file", lambda target, onnx, engine, profile, **more: shutil.copy(onnx, engine)
    )
    monkeypatch.setattr(
        person, "export_convolutional_part",
        lambda network, path, precision: shutil.copy(exported(MOBILENET, precision)[1], path),
    )
    return fake


@pytest.mark.parametrize(("target", "precision"), [("tensorrt", "fp32"), ("tensorrt_rtx", "fp16")])
def test_boxes_are_torchvisions_own_round_an_engine_on_a_gpu(gpu, exported, tmp_path, target, precision):
    network, _ = exported(MOBILENET, precision)
    lines: list[str] = []
    made = build_person_detector(
        network, "random", target=target, precision=precision, cache_dir=tmp_path, report=lines.append
    )
    assert made.name == f"random ({target} {precision})"
    for seed, size_hw in ((1, (240, 320)), (2, (300, 200)), (1, (240, 320))):
        rgb = torch.from_numpy(drawn_picture(size_hw, seed)[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            expected = network([rgb])[0]
        assert len(expected["boxes"]) >= 5
        assert_same_boxes(expected, made.detect_all([rgb])[0])
    made.close()
    made.close()
    assert gpu.detached
    # The next start finds it, verified; another precision is another engine.
    build_person_detector(network, "random", target=target, precision=precision, cache_dir=tmp_path,
                          report=lines.append).close()
    assert sum(line.startswith("building") for line in lines) == 1
    assert sum(line.startswith("verified") for line in lines) == 1
    kept = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert any(name.endswith("-runtime.cache") for name in kept) is (target == "tensorrt_rtx")


def test_a_size_that_stays_is_captured_once_and_forgotten_when_it_changes(gpu, exported):
    network, path = exported(MOBILENET, "fp32")
    graph = TensorRtPictures(path, output_names(network), "tensorrt", "fp32")
    part = copied_part(network)
    buffers = set()
    for size_hw, count, replays in (((64, 96), 11, 3), ((96, 64), 3, 3), ((64, 96), 10, 5)):
        for seed in range(count):
            picture = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(seed))
            found = graph.run(picture)
            with torch.inference_mode():
                assert all((a - b).norm() < 1e-4 * a.norm() for a, b in zip(part(picture), found, strict=True))
            buffers.add((size_hw, found[0].data_ptr()))
        assert gpu.replays == replays
    assert gpu.captures == 2
    assert gpu.pushed == 0
    assert len(buffers) <= 3  # one a change of size, none a call
    graph.close()


def test_what_cannot_be_captured_runs_without_a_graph(gpu, exported):
    network, path = exported(MOBILENET, "fp32")
    gpu.capturable = False
    graph = TensorRtPictures(path, output_names(network), "tensorrt", "fp32")
    for _ in range(20):
        graph.run(torch.zeros(1, 3, 64, 64))
    assert (gpu.runs, gpu.replays) == (20, 0)
    graph.close()


def test_a_picture_outside_of_the_profile_and_a_foreign_file_are_one_line(gpu, exported, tmp_path, monkeypatch):
    network, path = exported(MOBILENET, "fp32")
    monkeypatch.setattr(engine_build_fakes.FakeEngine, "largest", 64)
    graph = TensorRtPictures(path, output_names(network), "tensorrt", "fp32")
    with pytest.raises(ValueError, match="outside of the sizes"):
        graph.run(torch.zeros(1, 3, 64, 96))
    graph.close()
    (tmp_path / "foreign.engine").write_bytes(b"foreign")
    with pytest.raises(UserError, match="tensorrt refuses foreign") as caught:
        TensorRtPictures(tmp_path / "foreign.engine", [], "tensorrt", "fp32")
    assert "\n" not in str(caught.value)
    assert gpu.pushed == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"target": "tensorrt"}, "tensorrt needs an NVIDIA GPU"),
        ({"target": "torch"}, "no engine for person detectors here, only torch; run: pip install"),
        ({"target": "openvino", "precision": "fp16"}, "got precision 'fp16', expected auto or one of fp32, bf16, int8"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, tmp_path, arguments, text):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        build_person_detector(nn.Identity(), "random", cache_dir=tmp_path, **arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_int8_is_not_for_tensorrt(gpu, tmp_path):
    with pytest.raises(UserError, match="expected auto or one of fp32, fp16 for tensorrt"):
        build_person_detector(nn.Identity(), "random", precision="int8", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("device", "auto", "expected"),
    [
        ("cpu", "tensorrt", "openvino"),
        ("cuda", "tensorrt", "tensorrt"),
        ("cuda:0", "tensorrt_rtx", "tensorrt_rtx"),
        ("cuda", "torch_cuda", None),
        ("cuda:1", "tensorrt", None),
    ],
)
def test_the_engine_is_that_of_the_detector_s_device(monkeypatch, device, auto, expected):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(targets, "choose_target", lambda wanted: auto)
    assert person._target_for(torch.device(device)) == expected


def plain_detector(folder):
    network = calm_network(MOBILENET)
    network.roi_heads.box_predictor.cls_score.bias.data[PERSON] += 30
    torch.save(network.state_dict(), folder / "weights.pth")
    return TorchvisionDetector("torchvision_mobilenet", folder / "weights.pth", threshold=0.3)


def test_a_detector_on_a_gpu_gets_its_engine(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    plain, image = plain_detector(tmp_path), drawn_picture((240, 320), 3)
    expected = plain.detect(image)
    monkeypatch.setattr(person, "_target_for", lambda device: "tensorrt")
    made = accelerate(plain, report=lambda line: None)
    assert "torchvision_mobilenet (tensorrt fp32)" in made.notice
    found = made.detect(image)
    assert len(found) == len(expected) > 0
    assert np.abs(found.xyxy - expected.xyxy).max() <= PIXELS
    assert np.abs(found.score - expected.score).max() <= SCORE
    made.close()


def test_where_the_engine_cannot_be_had_torch_goes_on_aloud(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(person, "_target_for", lambda device: "tensorrt")

    def refuse(*positional, **named):
        raise UserError("tensorrt: the build failed")

    monkeypatch.setattr(person, "build_engine_file", refuse)
    plain, lines = plain_detector(tmp_path), []
    assert accelerate(plain, report=lines.append) is plain
    assert lines[-1] == "people: torch finds them, not tensorrt: tensorrt: the build failed"
    assert plain.network is not None


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("builder", BOTH, ids=IDS)
def test_boxes_on_a_gpu_are_torchvisions_own(tmp_path, builder, precision, target):
    need_gpu(target)
    network = calm_network(builder)
    made = build_person_detector(
        network, "random", target=target, precision=precision, cache_dir=tmp_path, report=lambda line: None
    )
    for seed, size_hw in ((1, (240, 320)), (2, (300, 200)), (3, (240, 320))):
        rgb = torch.from_numpy(drawn_picture(size_hw, seed)[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            expected = network([rgb])[0]
        for _ in range(12):  # the last ones replay a graph
            assert_same_boxes(expected, {key: value.cpu() for key, value in made.detect_all([rgb])[0].items()})
    made.close()
    made.close()
