"""TensorRT's side: the exported graphs, int8 in them, and engines that are really built ahead of time without a GPU."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from engine_build.build_tensorrt import Profile, build_engine_file
from engine_build.export import export_head, export_trunk
from engine_build.qdq import Quantized, quantize_trunk
from engine_build.run_tensorrt import TensorRtEngine
from tests import engine_build_fakes
from tests.test_engine_build_rewrite import network_with_statistics

CLIP_SHAPE = (8, 48, 64, 3)
# Ampere, and the newest that the library knows: what many have, and what nobody here has.
COMPUTE_CAPABILITIES = ("SM86", "SM120")


def clip(seed: int = 0, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *CLIP_SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    return network_with_statistics()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """(precision, two_d) → path, each exported once."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxslim")
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def export(precision, two_d=False):
        if (precision, two_d) not in made:
            path = folder / f"{precision}-{two_d}.onnx"
            export_trunk(network, CLIP_SHAPE, path, precision=precision, two_d=two_d, calibration=[clip(5)])
            made[precision, two_d] = path
        return made[precision, two_d]

    return export


def run_onnx(path, **inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("two_d", [False, True], ids=["3d", "2d"])
def test_exported_trunk_equals_torch_for_any_batch(network, exported, two_d):
    frames = clip(1, batch=3)
    with torch.inference_mode():
        expected = network.forward_trunk(torch.from_numpy(frames)).numpy()
    path = exported("fp32", two_d)
    for batch in (1, 3):
        found = run_onnx(path, frames=frames[:batch])
        assert np.linalg.norm(found - expected[:batch]) < 1e-4 * np.linalg.norm(expected[:batch])


def test_exported_head_equals_torch_for_any_number_of_boxes(network, tmp_path):
    pytest.importorskip("onnxslim")
    features = np.random.default_rng(0).normal(size=(2, network.config.feature_channels, 5, 7)).astype(np.float32)
    rois = np.array([[0, 3, 5, 60, 70], [1, 10, 0, 100, 75], [1, 40.5, 20.25, 44, 30]], np.float32)
    export_head(network, tmp_path / "head.onnx")
    for count in (1, 3):
        with torch.inference_mode():
            expected = network.forward_head(torch.from_numpy(features), torch.from_numpy(rois[:count])).numpy()
        found = run_onnx(tmp_path / "head.onnx", features=features, rois=rois[:count])
        assert np.abs(found - expected).max() < 1e-5


def test_int8_graph_has_a_pair_before_every_convolution_but_the_stems(exported):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(exported("int8"))).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    plain = [n.name for n in convolutions if made_by.get(n.input[1]) != "DequantizeLinear"]
    assert len(convolutions) > 20
    assert len(plain) == 2
    assert all("stem" in name for name in plain)
    for node in convolutions:
        if node.name not in plain:
            assert made_by[node.input[0]] == "DequantizeLinear", node.name


def test_int8_rounding_in_onnx_is_the_one_that_torch_shows(network, exported):
    frames = clip(2)
    graph = quantize_trunk(network, [clip(5)])
    with torch.inference_mode():
        expected = graph(torch.from_numpy(frames)).numpy()
        exact = network.forward_trunk(torch.from_numpy(frames)).numpy()
    found = run_onnx(exported("int8"), frames=frames)
    off = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    lost = np.linalg.norm(expected - exact) / np.linalg.norm(exact)
    assert off < 0.02
    assert 1e-4 < lost < 0.15  # it rounds, and not more than 8 bits do


def test_a_range_covers_what_was_seen():
    part = Quantized()
    part.collecting = True
    part(torch.linspace(-2, 1, 10_001))
    part.freeze()
    assert part.scale * 127 == pytest.approx(2.0, rel=0.01)
    x = torch.tensor([-5.0, -0.3, 0.0, 0.004, 1.9])
    assert part(x) == pytest.approx(x.clamp(-part.scale * 128, None), abs=part.scale / 2 + 1e-6)


def test_int8_without_clips_is_one_line(network, tmp_path):
    with pytest.raises(UserError, match="--calibrate VIDEO"):
        export_trunk(network, CLIP_SHAPE, tmp_path / "t.onnx", precision="int8")


@pytest.mark.parametrize("compute_capability", COMPUTE_CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_rtx_engines_are_built_without_a_gpu(exported, tmp_path, precision, compute_capability):
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "trunk.engine"
    build_engine_file(
        "tensorrt_rtx", exported(precision), path, Profile(CLIP_SHAPE), compute_capability=compute_capability,
        report=lambda line: None,
    )
    assert path.stat().st_size > 100_000


def test_rtx_refuses_an_operation_that_it_does_not_know(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Det", ["frames"], ["y"], name="determinant")
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("frames", kind, [1, 4, 4])],
        [helper.make_tensor_value_info("y", kind, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "d.onnx")
    with pytest.raises(UserError, match="operation not supported: Det") as caught:
        build_engine_file("tensorrt_rtx", tmp_path / "d.onnx", tmp_path / "d.engine", Profile((4, 4)),
                          compute_capability="SM86", report=lambda line: None)
    assert "\n" not in str(caught.value)


def test_rtx_names_the_compute_capabilities_that_it_knows(exported, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(UserError, match=r"got SM10, expected one of .*SM86"):
        build_engine_file("tensorrt_rtx", exported("fp16"), tmp_path / "t", Profile(CLIP_SHAPE),
                          compute_capability="SM10", report=lambda line: None)


REAL_SHAPE = (32, 256, 455, 3)


@pytest.fixture(scope="module")
def exported_r50(tmp_path_factory):
    """Precision → path of the real 8x8 R50's trunk: tracing a clip of full size takes longest, so each only once."""
    folder = tmp_path_factory.mktemp("r50")

    @functools.cache
    def export(precision):
        network = create_network(SlowFastConfig(lateral_kernel=7), seed=0).eval()
        frames = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 64, 3), dtype=np.uint8)
        path = folder / f"{precision}.onnx"
        export_trunk(network, REAL_SHAPE, path, precision=precision, calibration=[frames])
        return path

    return export


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("compute_capability", COMPUTE_CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_rtx_builds_the_real_network(exported_r50, tmp_path, precision, compute_capability):
    pytest.importorskip("tensorrt_rtx")
    build_engine_file("tensorrt_rtx", exported_r50(precision), tmp_path / "t.engine", Profile(REAL_SHAPE),
                      compute_capability=compute_capability, report=lambda line: None)
    assert (tmp_path / "t.engine").stat().st_size > 20 * 2**20


def test_the_runner_gives_torch_s_features_and_scores_on_a_stand_in_gpu(network, exported, monkeypatch):
    path = exported("fp32")
    gpu = engine_build_fakes.install(monkeypatch)
    engine = TensorRtEngine(path, network, "tensorrt", "fp32", CLIP_SHAPE)
    rois = np.array([[0, 3, 5, 40, 44]], np.float32)
    for batch in (1, 3, *[2] * 7, 0, 3):  # twice each: the last two of the 14 times two clips are replayed
        frames = clip(batch, batch)
        with torch.inference_mode():
            expected = network.forward_trunk(torch.from_numpy(frames)) if batch else torch.zeros(0)
        for given in (frames, torch.from_numpy(frames)):
            found = engine.run_trunk(given)
            assert len(found) == batch
            if batch:
                assert (found - expected).norm() < 1e-4 * expected.norm()
    with torch.inference_mode():
        scores = network.forward_head(expected, torch.from_numpy(rois)).numpy()
    assert np.abs(engine.run_head(found, rois) - scores).max() < 1e-4
    assert engine.run_head(found, rois[:0]).shape == (0, network.config.num_classes)
    assert (gpu.captures, gpu.replays, gpu.pushed) == (1, 6, 0)
    with pytest.raises(ValueError, match="B up to 8"):
        engine.run_trunk(clip(0, 9))
    engine.close()
    engine.close()
    assert gpu.detached


def need_gpu(library):
    required = os.environ.get("REQUIRE_GPU") == "1"
    if not torch.cuda.is_available():
        assert not required, "REQUIRE_GPU=1, but torch sees no GPU"
        pytest.skip("needs a GPU")
    if not required:
        pytest.importorskip(library)
        pytest.importorskip("pycuda")


@pytest.mark.tensorrt
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_gpu_engine_gives_torch_s_features(network, tmp_path, target, precision):
    need_gpu(target)
    export_trunk(network, CLIP_SHAPE, tmp_path / "t.onnx", precision=precision, calibration=[clip(5)])
    build_engine_file(target, tmp_path / "t.onnx", tmp_path / "t.engine", Profile(CLIP_SHAPE))
    engine = TensorRtEngine(tmp_path / "t.engine", network, target, precision, CLIP_SHAPE)
    limit = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.2}[precision]
    for batch in (1, 3, 1, 8, *[3] * 6):  # at last so often that a graph is replayed
        frames = clip(batch, batch)
        with torch.inference_mode():
            expected = network.forward_trunk(torch.from_numpy(frames))
        for given in (frames, torch.from_numpy(frames).cuda()):
            found = engine.run_trunk(given).cpu()
            assert (found - expected).norm() < limit * expected.norm()
    with pytest.raises(ValueError, match="B up to 8"):
        engine.run_trunk(clip(0, 9))
    engine.close()
    engine.close()
