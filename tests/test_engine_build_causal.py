"""Causal engines: steps in torch and OpenVINO against the network, many cameras in one batch, int8, cache, export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.causal import state_shapes
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.cost import count_cost
from detector.slowfast.network import create_network
from detector.views import FrameView
from detector.weights.records import ActionModel
from engine_build import bench_causal
from engine_build.build_causal import CalibrationSteps, StepJob, build_causal_engine, is_step_built
from engine_build.build_tensorrt import StepProfile, build_engine_file
from engine_build.causal_engine import run_torch_steps
from engine_build.causal_graph import StepGraph
from engine_build.causal_states import CameraStates
from engine_build.export import DTYPES, export_step, fresh_names
from engine_build.footage import drawn_footage, read_footage, steps_of
from engine_build.verify_causal import verify_steps
from tests.test_engine_build_rewrite import give_statistics

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE_HW = (48, 64)
CONFIG = SlowFastConfig(
    num_frames=8, alpha=4, width=16, blocks=(1, 1, 2, 1), lateral_kernel=7, causal=True, num_classes=80
)
MODEL = ActionModel("tiny-causal", CONFIG, load_labels("ava"), Sampling(8, 2, ahead=0), FrameView(48))
VARIANTS = {
    "slowfast": CONFIG,
    "lateral 5": replace(CONFIG, lateral_kernel=5),
    "alpha 8": replace(CONFIG, alpha=8, lateral_kernel=5, num_frames=16),
    "slow only": replace(CONFIG, pathways="slow", num_frames=4),
    "fast only": replace(CONFIG, pathways="fast"),
    "difference": replace(CONFIG, fast_input="difference"),
}


def network_of(config=CONFIG):
    return give_statistics(create_network(config, seed=0))


def video(steps: int, config=CONFIG, seed: int = 0) -> np.ndarray:
    return drawn_footage(replace(MODEL, network=config), SIZE_HW, steps, seed)


def whole(network, footage: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network.forward_trunk(torch.from_numpy(footage[None].copy())).numpy()


def off(found, expected) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("kind", VARIANTS)
def test_a_step_graph_is_the_network(kind, paired):
    config = VARIANTS[kind]
    network = network_of(config)
    graph = StepGraph(network, paired_stem=paired)
    states = CameraStates(config, SIZE_HW, graph.sum_shapes(SIZE_HW), graph.feature_shape(SIZE_HW))
    row, footage = states.open(), video(5, config)

    def run(frames, past, fresh):
        newest, *sums = graph(frames, *past)
        for target, value in zip(fresh, sums):
            target.copy_(value)
        return newest

    for frames in steps_of(footage, config.frames_per_step):
        features = states.run(torch.from_numpy(frames.copy()), [row], run)
    assert off(features, whole(network, footage)) < 1e-5
    assert sum(torch.Size(s).numel() for s in graph.sum_shapes(SIZE_HW)) == sum(
        torch.Size(s).numel() for s in state_shapes(config, SIZE_HW)[0].values()
    )


@pytest.fixture(scope="module")
def openvino_fp32(tmp_path_factory):
    pytest.importorskip("openvino")
    folder, said = tmp_path_factory.mktemp("engines"), []
    network = network_of()
    engine = build_causal_engine(
        MODEL, network, size_hw=SIZE_HW, target="openvino", precision="fp32", cache_dir=folder, report=said.append
    )
    yield engine, network, folder, said
    engine.close()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("target", ["torch", "openvino"])
def test_cameras_in_any_order_and_number_keep_their_own_state(target, openvino_fp32):
    engine, network = openvino_fp32[:2]
    if target == "torch":
        engine = run_torch_steps(network, SIZE_HW, "fp32", "cpu")
    films = [video(12, seed=seed).reshape(12, 4, *SIZE_HW, 3) for seed in range(4)]
    rows = [engine.open_camera() for _ in range(4)]
    seen = [0] * 4
    rng = np.random.default_rng(1)
    for _ in range(16):
        ready = [i for i in range(4) if seen[i] < 12]
        some = rng.permutation(ready)[: rng.integers(1, len(ready) + 1)].tolist()
        features = engine.run_step(np.stack([films[i][seen[i]] for i in some]), [rows[i] for i in some])
        for place, i in enumerate(some):
            seen[i] += 1
            shown = films[i][: seen[i]].reshape(-1, *SIZE_HW, 3)
            assert off(features[place : place + 1], whole(network, shown)) < 1e-4
    for row in rows:
        engine.close_camera(row)


def test_cameras_that_go_on_together_are_not_copied(openvino_fp32):
    engine = openvino_fp32[0]
    rows = [engine.open_camera() for _ in range(3)]
    frames = np.zeros((3, 4, *SIZE_HW, 3), np.uint8)
    before = engine.states.copied_bytes
    for _ in range(3):
        engine.run_step(frames, rows)
    assert engine.states.copied_bytes == before
    engine.run_step(frames[:1], rows[:1])  # one runs ahead: it changes sides alone, without a copy
    assert engine.states.copied_bytes == before
    engine.run_step(frames, rows)
    assert engine.states.copied_bytes > before
    before = engine.states.copied_bytes
    engine.run_step(frames, rows)  # brought to one side, they go on as they lie
    assert engine.states.copied_bytes == before
    for row in rows:
        engine.close_camera(row)


def test_a_reset_camera_begins_anew(openvino_fp32):
    engine, network = openvino_fp32[:2]
    a, b = engine.open_camera(), engine.open_camera()
    footage = video(6)
    for i, frames in enumerate(steps_of(footage, 4)):
        if i == 3:
            engine.reset(b)
        features = engine.run_step(np.concatenate([frames, frames]), [a, b])
    assert off(features[:1], whole(network, footage)) < 1e-4
    assert off(features[1:], whole(network, footage[12:])) < 1e-4
    engine.close_camera(a)
    # A row that another camera had shows nothing of it.
    again = engine.open_camera()
    assert again == a
    for frames in steps_of(footage[:8], 4):
        features = engine.run_step(frames, [again])
    assert off(features, whole(network, footage[:8])) < 1e-4
    engine.close_camera(again)
    engine.close_camera(b)


@pytest.mark.parametrize(
    ("frames", "rows", "message"),
    [
        (np.zeros((1, 8, *SIZE_HW, 3), np.uint8), [0], r"expected \(1, 4, 48, 64, 3\)"),
        (np.zeros((1, 4, *SIZE_HW, 3), np.float32), [0], "float32"),
        (np.zeros((2, 4, *SIZE_HW, 3), np.uint8), [0, 0], "expected different ones"),
        (np.zeros((1, 4, *SIZE_HW, 3), np.uint8), [99], "that are open"),
    ],
)
def test_what_does_not_fit_is_refused(openvino_fp32, frames, rows, message):
    engine = openvino_fp32[0]
    row = engine.open_camera()
    try:
        with pytest.raises(ValueError, match=message):
            engine.run_step(frames, [row if r == 0 else r for r in rows])
    finally:
        engine.close_camera(row)


def test_scores_of_no_one_and_of_some(openvino_fp32):
    engine, network = openvino_fp32[:2]
    row = engine.open_camera()
    features = engine.run_step(video(1)[None], [row])
    assert engine.run_head(features, np.zeros((0, 5), np.float32)).shape == (0, 80)
    rois = np.array([[0, 3, 4, 40, 44]], np.float32)
    with torch.inference_mode():
        expected = network.forward_head(torch.from_numpy(whole(network, video(1))), torch.from_numpy(rois))
    assert np.abs(engine.run_head(features, rois) - expected.numpy()).max() < 1e-4
    engine.close_camera(row)


def test_bytes_are_those_of_the_tensors(openvino_fp32):
    states = openvino_fp32[0].states
    row = states.open()
    held = sum(t.nbytes for side in states._sums for t in side) + states._pictures.nbytes + states._window.size_bytes
    assert states.bytes_per_camera * states.rows == held
    sums = sum(t.nbytes for t in states._sums[0]) // states.rows
    assert states.bytes_per_step > 2 * sums
    states.close(row)


def test_an_engine_is_found_again_and_knows_that_it_was_verified(openvino_fp32):
    _, network, folder, said = openvino_fp32
    assert any("this is done once" in line for line in said)
    assert any("over 24 steps" in line and "in the last quarter" in line for line in said)
    assert is_step_built(MODEL, network, size_hw=SIZE_HW, target="openvino", precision="fp32", cache_dir=folder)
    assert not is_step_built(MODEL, network, size_hw=(64, 64), target="openvino", precision="fp32", cache_dir=folder)
    again = []
    build_causal_engine(
        MODEL, network, size_hw=SIZE_HW, target="openvino", precision="fp32", cache_dir=folder, report=again.append
    ).close()
    assert again == []


@pytest.mark.slow
def test_a_minute_of_steps_stays_true(openvino_fp32):
    """A minute at 3.75 steps a second beside torch: the error of the last quarter is that of the first half."""
    engine, network = openvino_fp32[:2]
    small = video(225)
    report = verify_steps(engine, network, small, "fp32", "drawn clips")
    assert report.ok
    assert report.clips == 225
    assert report.feature_error < 1e-4
    assert report.last_error < 1.5 * report.first_error + 1e-6


def test_an_error_that_grows_is_found():
    network = network_of()
    engine = run_torch_steps(network, SIZE_HW, "fp32", "cpu")
    right, count = engine._runner.run, [0]

    def drifting(frames, past, fresh):
        count[0] += 1
        return right(frames, past, fresh) * (1 + 2e-5 * count[0])

    engine._runner.run = drifting
    report = verify_steps(engine, network, video(60), "fp32", "drawn clips")
    assert report.feature_error < 1e-3  # small enough by itself
    assert not report.ok


@pytest.mark.slow
def test_int8_is_calibrated_with_the_sums_of_real_steps(tmp_path):
    pytest.importorskip("nncf")
    network, footage = network_of(), video(30)
    with pytest.raises(UserError, match="engine_build --causal --model tiny --precision int8"):
        build_causal_engine(MODEL, network, size_hw=SIZE_HW, target="openvino", precision="int8", cache_dir=tmp_path)
    job = StepJob(MODEL, network, SIZE_HW, "openvino", "int8", print, footage)
    samples = CalibrationSteps(job)
    first, *_ = samples
    graph = job.graph()
    assert len(first) == 1 + len(graph.names)
    assert all(np.abs(sums).max() > 0 for sums in first[1:])
    said: list[str] = []
    engine = build_causal_engine(
        MODEL, network, size_hw=SIZE_HW, target="openvino", precision="int8", cache_dir=tmp_path, footage=footage,
        report=said.append,
    )
    error = verify_steps(engine, network, video(20, seed=5), "int8", "drawn clips").feature_error
    assert 1e-4 < error < 0.2  # it rounds, and not more than 8 bits do
    for port in engine._runner._model.inputs[1:]:  # ... but nothing that only comes from the step before
        users = [t.get_node() for t in port.get_target_inputs()]
        users += [t.get_node() for user in users for output in user.outputs() for t in output.get_target_inputs()
                  if user.get_type_name() in ("Slice", "VariadicSplit", "StridedSlice")]
        assert users
        assert "FakeQuantize" not in {user.get_type_name() for user in users}
    engine.close()
    # "auto" takes it from now on: it was verified on video.
    chosen = build_causal_engine(MODEL, network, size_hw=SIZE_HW, target="openvino", cache_dir=tmp_path, report=print)
    assert chosen.description == "causal openvino int8"
    chosen.close()


def test_bf16_in_torch_is_bf16():
    network = network_of()
    engine = run_torch_steps(network, SIZE_HW, "bf16", "cpu")
    report = verify_steps(engine, network, video(10), "bf16", "drawn clips")
    assert engine.states._sums[0][0].dtype == torch.bfloat16
    assert 1e-4 < report.feature_error < 5e-2


def test_a_clip_network_makes_no_step_engine():
    clip = replace(MODEL, network=replace(CONFIG, causal=False))
    with pytest.raises(ValueError, match="looks ahead, expected a causal one"):
        build_causal_engine(clip, create_network(clip.network), size_hw=SIZE_HW)


def test_footage_is_evenly_spaced_in_time(write_video, tmp_path):
    from tests.conftest import number_of

    path = write_video(frames=50, fps=30.0, size_hw=(48, 64))
    footage = read_footage(path, MODEL, SIZE_HW, 60.0)
    assert [number_of(f) for f in footage] == list(range(0, 48, 2))
    assert len(read_footage(path, MODEL, SIZE_HW, 1.0)) == 12
    slow = read_footage(write_video("slow.mp4", frames=20, fps=10.0, size_hw=(48, 64)), MODEL, SIZE_HW, 60.0)
    assert [number_of(f) for f in slow[:8]] == [0, 1, 1, 2, 3, 3, 4, 5]
    with pytest.raises(UserError, match=r"expected a video of at least 0\.5 s"):
        read_footage(write_video("short.mp4", frames=6, fps=30.0), MODEL, SIZE_HW, 60.0)
    with pytest.raises(UserError, match="which is no file"):
        read_footage(tmp_path / "none.mp4", MODEL, SIZE_HW, 60.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """precision → (graph, path), each exported once."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxslim")
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def export(precision):
        if precision not in made:
            graph = StepGraph(network_of(), DTYPES[precision])
            export_step(graph, SIZE_HW, folder / f"{precision}.onnx")
            made[precision] = graph, folder / f"{precision}.onnx"
        return made[precision]

    return export


def test_exported_steps_equal_torch_for_any_number_of_cameras(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    graph, path = exported("fp32")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["frames", *graph.names]
    assert [o.name for o in session.get_outputs()] == ["features", *fresh_names(graph.names)]
    network, shapes = network_of(), graph.sum_shapes(SIZE_HW)
    for cameras in (1, 3):
        states = CameraStates(CONFIG, SIZE_HW, shapes, graph.feature_shape(SIZE_HW))
        films = np.stack([video(5, seed=seed) for seed in range(cameras)])
        rows = [states.open() for _ in range(cameras)]

        def run(frames, past, fresh):
            given = {"frames": frames.numpy(), **{n: p.numpy() for n, p in zip(graph.names, past)}}
            newest, *sums = session.run(None, given)
            for target, value in zip(fresh, sums):
                target.copy_(torch.from_numpy(value))
            return torch.from_numpy(newest)

        for i in range(5):
            features = states.run(torch.from_numpy(films[:, 4 * i : 4 * i + 4].copy()), rows, run)
        for row in range(cameras):
            assert off(features[row : row + 1], whole(network, films[row])) < 1e-4


@pytest.mark.parametrize("compute_capability", ["SM86", "SM120"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_rtx_engines_of_steps_are_built_without_a_gpu(exported, tmp_path, precision, compute_capability):
    pytest.importorskip("tensorrt_rtx")
    graph, path = exported(precision)
    build_engine_file(
        "tensorrt_rtx", path, tmp_path / "step.engine", StepProfile(graph.input_shapes(SIZE_HW)),
        compute_capability=compute_capability, report=lambda line: None,
    )
    assert (tmp_path / "step.engine").stat().st_size > 50_000


def test_the_benchmark_counts_answers_of_all_cameras(tmp_path, monkeypatch):
    class Yardstick(torch.nn.Module):
        def forward(self, frames, rois):
            assert frames.shape == (1, 32, *SIZE_HW, 3)

    for name, value in {
        "Yardstick": lambda indices: Yardstick(), "WANTED": (("torch", "fp32"),), "CAMERAS": (1, 2), "SIZE_HW": SIZE_HW,
    }.items():
        monkeypatch.setattr(bench_causal, name, value)
    said: list[str] = []
    bench_causal.run_causal_bench(
        MODEL, network_of(), pairs=2, json_path=tmp_path / "bench.json", cache_dir=tmp_path, footage=None,
        report=said.append,
    )
    found = json.loads((tmp_path / "bench.json").read_text())
    names = [row["engine"] for row in found["engines"]]
    assert names == ["pytorchvideo eager fp32, a clip", "causal torch fp32", "causal torch fp32, 2 cameras"]
    assert [row["cameras"] for row in found["engines"]] == [1, 1, 2]
    for row in found["engines"]:
        assert row["speedup_per_answer"] == pytest.approx(row["speedup"] * row["cameras"], abs=0.02)
        assert len(row["seconds"]) == 2
    assert found["state"]["bytes_per_step"] > 0
    assert found["state"]["copied_bytes"] == {"causal torch fp32": 0}
    assert found["footage"] == "drawn"
    assert any("an answer" in line for line in said)


def test_an_engine_seen_on_drawn_footage_is_not_called_verified_on_video(tmp_path):
    pytest.importorskip("openvino")
    network, footage = network_of(), video(8)
    job = StepJob(MODEL, network, SIZE_HW, "openvino", "int8", print, footage, drawn=True)
    assert job.source == "drawn clips"
    assert StepJob(MODEL, network, SIZE_HW, "openvino", "int8", print, footage).source == "real clips"


def test_a_step_costs_an_eighth_of_a_clip():
    """But for the lateral convolutions, which see as many frames, and head and edges."""
    config = SlowFastConfig(lateral_kernel=7, causal=True)
    assert count_cost(config).multiply_adds / config.window_steps == pytest.approx(
        count_cost(replace(config, causal=False)).multiply_adds / 8, rel=0.02
    )
