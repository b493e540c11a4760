"""On a GPU: engines of torch are the network, in every mode and from any thread; clips and tubes made there are right.

Skipped without one, unless REQUIRE_GPU=1 says that there must be one. Needs nothing but torch, torchvision, numpy,
OpenCV and pytest, so that it runs on a bare machine.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.types import Boxes, Clip, Frame, Origin
from detector.views import FrameView, TubeView
from engine_build.cuda_graphs import Graphed
from engine_build.device_frames import DeviceFrames
from engine_build.run_torch import MODES, TorchEngine
from engine_build.verify import TOLERANCES

pytestmark = pytest.mark.gpu

CONFIG = SlowFastConfig(num_frames=8, alpha=4, width=16, blocks=(1, 1, 1, 1), num_classes=5)
UNCOMPILED = ("plain", "channels_last", "graphs")


@pytest.fixture(scope="module")
def network():
    made = create_network(CONFIG, seed=0, zero_init=False)
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made.forward_trunk(torch.from_numpy(clips(2)))
    return made.eval()


def clips(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 8, 64, 96, 3), dtype=np.uint8)


def error_of(engine: TorchEngine, network, frames: np.ndarray) -> float:
    with torch.inference_mode():
        expected = network.forward_trunk(torch.from_numpy(frames))
    found = engine.run_trunk(frames).float().cpu()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("mode", MODES)
def test_every_engine_is_the_network(network, mode, precision):
    engine = TorchEngine(network, precision, "cuda", mode)
    for batch in (1, 3) if mode in UNCOMPILED else (1,):
        assert error_of(engine, network, clips(batch, batch)) <= TOLERANCES[precision].feature_error
    engine.close()


def test_graphs_are_really_recorded(network):
    engine = TorchEngine(network, "bf16", "cuda", "graphs")
    assert isinstance(engine._graphed, Graphed)
    for batch in (1, 2, 3, 4):
        engine.run_trunk(clips(batch))
    assert engine._graphed.works
    assert len(engine._graphed._recorded) == 3
    engine.close()


def test_an_engine_runs_in_a_thread_while_another_thread_uses_the_gpu(network):
    found: list[object] = []
    stop = threading.Event()

    def work():
        try:
            for number in range(2):
                engine = TorchEngine(network, "bf16", "cuda", "graphs")
                found.append(max(error_of(engine, network, clips(batch, number)) for batch in (1, 2, 5)))
                engine.close()
        except BaseException as error:
            found.append(error)
        finally:
            stop.set()

    def disturb():
        x = torch.randn(256, 256, device="cuda")
        while not stop.is_set():
            (x @ x).sum().item()

    threads = [threading.Thread(target=work), threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [e for e in found if isinstance(e, BaseException)] == []
    assert max(found) <= TOLERANCES["bf16"].feature_error


def test_scores_are_the_networks(network):
    engine = TorchEngine(network, "fp32", "cuda", "graphs")
    frames, rois = clips(2), np.array([[0, 5, 5, 60, 60], [1, 20, 3, 90, 50]], np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames), torch.from_numpy(rois)).numpy()
    found = engine.run_head(engine.run_trunk(frames), rois)
    assert np.abs(found - expected).max() <= TOLERANCES["fp32"].score_max
    assert engine.run_head(engine.run_trunk(frames), rois[:0]).shape == (0, 5)
    engine.close()


@pytest.mark.parametrize("view", [FrameView(90), TubeView(48)])
def test_clips_and_tubes_on_the_gpu_are_the_cpus(view):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (40, 90, 160, 3), dtype=np.uint8)
    memory, frames = type("Memory", (), {})(), DeviceFrames("cuda")
    boxes = Boxes([[40, 20, 200, 300], [5, 5, 630, 355], [500, 200, 560, 300]], np.ones(3))
    for start in (0, 3, 4, 11):
        serials = tuple(range(start, start + 16, 2))
        key = Frame(np.zeros((360, 640, 3), np.uint8), start, 0.0)
        clip = Clip(pictures[list(serials)], key, 4, Origin(memory, serials))
        expected, expected_rows = view.prepare(clip, boxes)
        found, rows = frames.prepare(view, clip, boxes)
        assert found.is_cuda
        assert np.array_equal(rows, expected_rows)
        assert np.abs(found.cpu().numpy().astype(int) - expected).max() <= 1
    assert frames.uploaded < frames.gathered


def test_an_engine_prepares_on_the_gpu(network):
    engine = TorchEngine(network, "fp16", "cuda", "graphs")
    clip = Clip(clips(1)[0], Frame(np.zeros((64, 96, 3), np.uint8), 0, 0.0), 4)
    frames, rois = engine.prepare(FrameView(64), clip, Boxes([[5, 5, 60, 60]], [1]))
    assert frames.is_cuda
    assert engine.run_head(engine.run_trunk(frames), rois).shape == (1, 5)
    engine.close()
    engine.close()
