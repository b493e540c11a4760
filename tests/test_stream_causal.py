"""Streams in front of causal models: their own state each, batches, gaps, files and cameras, and what results say."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.types import Frame
from detector.weights.model_file import save_action_model
from engine_build.causal_engine import run_torch_steps
from stream import session as session_module
from stream.causal import CausalStream
from stream.pipeline import Options, Pipeline
from stream.results import result_to_json, thresholds_for
from stream.session import Session, open_session
from stream.watching import Watch
from tests.stream_fakes import FakeDetector, FakeTracker, ListSource, grey_frames, tiny_model
from tests.test_engine_build_rewrite import give_statistics

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORK = SlowFastConfig(num_frames=8, alpha=4, num_classes=3, width=8, beta_inv=4, blocks=(1, 1, 1, 1))
CLIP_MODEL = tiny_model(network=NETWORK)  # samples a tenth of a second apart: steps of 0.4 s
MODEL = CLIP_MODEL.as_causal()


class CausalFake:
    """An engine of steps whose score is the mean grey of all that its camera has shown since the reset."""

    description, num_classes = "causal fake", 3

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    def open_camera(self) -> int:
        row = next(i for i in range(99) if i not in self.seen)
        self.seen[row] = []
        return row

    def close_camera(self, row: int) -> None:
        del self.seen[row]

    def reset(self, row: int) -> None:
        self.seen[row] = []

    def run_step(self, frames, rows):
        assert self.gate.wait(10)
        self.threads.add(threading.get_ident())
        self.batches.append(list(rows))
        for step, row in zip(frames, rows):
            self.seen[row] += step.mean((1, 2, 3)).round().tolist()
        return np.array([[np.mean(self.seen[row]), len(self.seen[row]), row] for row in rows], np.float32)

    def run_head(self, features, rois):
        return features[rois[:, 0].astype(int)]

    def close(self) -> None:
        self.closed += 1


def fake_session(**changes):
    engine = CausalFake()
    session = Session(
        replace(MODEL, **changes), create_detector=FakeDetector, build_engine=lambda size_hw: engine
    )
    return session, engine


def answers(source, session, **options):
    with Pipeline(source, session, Options(**options), tracker=FakeTracker()) as pipeline:
        return [result for update in pipeline for result in update.results]


def test_a_file_is_worked_through_step_by_step():
    session, engine = fake_session()
    with session:
        found = answers(ListSource(grey_frames(44)), session, every_s=1.0)
    # Steps end with frames 3, 7, 11, ...: the first at or after each whole second.
    assert [(r.frame_index, r.due_s) for r in found] == [(3, 0.0), (11, 1.0), (23, 2.0), (31, 3.0), (43, 4.0)]
    for result in found:
        seen = np.arange(result.frame_index + 1)
        assert result.detections.action_scores[0, :2].tolist() == pytest.approx([seen.mean(), len(seen)])
        assert result.timings.look_ahead_s == 0
    assert engine.batches == [[0]] * 11
    assert engine.closed == 1


def test_results_say_what_was_repeated_and_that_it_is_experimental():
    session, _ = fake_session()
    frames = [frame for frame in grey_frames(60) if not 20 <= frame.index < 40 and frame.index != 6]
    with session:
        found = answers(ListSource(frames), session, every_s=0.4)
    lines = [result_to_json(result, thresholds_for(MODEL.labels)) for result in found]
    assert all(line["look_ahead_s"] == 0 and line["experimental"] and line["model"] == "tiny-causal" for line in lines)
    assert [line["drops"]["restarts"] for line in lines] == [1] * 5 + [2] * 5
    assert [line["drops"]["repeated"] for line in lines] == [0] + [1] * 9
    # After the gap nothing of what was before is left.
    assert found[5].detections.action_scores[0, 1] == 4
    assert found[5].detections.action_scores[0, 0] == pytest.approx(np.mean([40, 41, 42, 43]))
    json.dumps(lines)


def test_a_clip_model_says_nothing_of_steps():
    from tests.stream_fakes import fake_session as clip_session

    session, _, _ = clip_session()
    with session:
        found = answers(ListSource(grey_frames(30)), session)
    line = result_to_json(found[0], thresholds_for(session.model.labels))
    assert "experimental" not in line
    assert set(line["drops"]) == {"frames", "clips"}


@pytest.mark.parametrize("fps", [10.0, 20.0])
def test_cameras_of_different_rates_give_the_same_steps(fps):
    session, _ = fake_session()
    factor = round(fps / 10)
    frames = [
        Frame(np.full((48, 64, 3), 3 * (i // factor), np.uint8), i, i / fps, i / fps) for i in range(24 * factor)
    ]
    source = ListSource(frames)
    source.fps = fps
    with session:
        found = answers(source, session, every_s=0.4)
    scores = [r.detections.action_scores[0, :2].tolist() for r in found]
    assert [count for _, count in scores] == [4, 8, 12, 16, 20, 24]
    assert scores[-1][0] == pytest.approx(3 * 11.5, abs=1.0)


def test_a_live_stream_answers_every_step_without_look_ahead():
    session, engine = fake_session()
    passed = threading.Event()

    def before(index: int) -> None:
        if index == 2:  # the detector has looked once, the engine is there
            session.prepare((48, 64)).result(10)
            passed.wait(0.2)
        passed.wait(0.01)

    with session:
        found = answers(ListSource(grey_frames(60), live=True, before=before), session, pictures=False)
    assert len(found) >= 8
    steps = [int(r.detections.action_scores[0, 1]) for r in found]
    assert steps == sorted(steps)
    assert all(count % 4 == 0 for count in steps)
    assert all(r.timings.look_ahead_s == 0 for r in found)
    assert engine.threads == {t for t in engine.threads if t != threading.get_ident()}


def test_streams_share_batches_and_keep_their_own_state():
    """While the engine is busy the steps of three streams wait; then they run together, one of each at a time."""
    session, engine = fake_session()
    streams = [type("Stream", (), {})() for _ in range(3)]
    boxes = np.array([[0, 0, 4, 4]], np.float32)

    def step(stream: int, grey: int, restart: bool = False):
        frames = np.full((4, 16, 21, 3), grey, np.uint8)
        return session.score_step(streams[stream], frames, boxes, restart)

    with session:
        engine.gate.clear()
        first = step(0, 10, True)
        threading.Event().wait(0.1)
        waiting = [step(1, 20, True), step(2, 30, True), step(0, 50)]
        later = step(1, 40)
        engine.gate.set()
        assert [f.result(10).scores[0, 0] for f in (first, *waiting, later)] == [10, 20, 30, 30, 30]
        assert sorted(len(batch) for batch in engine.batches) == [1, 2, 2]
        # Someone without people gets an empty answer, and the state goes on all the same.
        empty = session.score_step(streams[2], np.full((4, 16, 21, 3), 90, np.uint8), boxes[:0], False)
        assert empty.result(10).scores.shape[0] == 0
        assert step(2, 30).result(10).scores[0, :2].tolist() == [50, 12]
        session.leave(streams[2])
        assert step(0, 0, restart=True).result(10).scores[0, :2].tolist() == [0, 4]
        assert sorted(engine.seen) == [0, 1]


def test_an_engine_that_fails_tells_every_stream_that_waited():
    session, engine = fake_session()
    a, b = (type("Stream", (), {})() for _ in range(2))
    frames, boxes = np.zeros((4, 16, 21, 3), np.uint8), np.zeros((0, 4), np.float32)

    def broken(frames, rows):
        raise RuntimeError("out of memory")

    with session:
        engine.run_step = broken
        futures = [session.score_step(s, frames, boxes, True) for s in (a, b)]
        for future in futures:
            with pytest.raises(RuntimeError, match="out of memory"):
                future.result(10)


def test_a_stream_that_ends_gives_its_row_back():
    session, engine = fake_session()
    with session:
        for _ in range(3):
            answers(ListSource(grey_frames(12)), session, every_s=0.4)
        session.prepare((48, 64)).result(10)
        assert engine.seen == {}


def test_frames_of_a_step_reach_the_network_as_rgb_of_the_rings_size():
    session, engine = fake_session()
    caught = []
    engine.run_step = lambda frames, rows: (caught.append(frames), np.zeros((1, 3), np.float32))[1]
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 200
    with session:
        answers(ListSource([Frame(red, i, i / 10, i / 10) for i in range(4)]), session, every_s=0.4)
    assert caught[0].shape == (1, 4, 16, 21, 3)
    assert caught[0][0, :, 8, 8].tolist() == [[200, 0, 0]] * 4


def test_a_real_engine_in_the_stream_is_the_network_on_the_whole_video():
    network = give_statistics(create_network(MODEL.network, seed=0))
    session = Session(
        MODEL, create_detector=FakeDetector,
        build_engine=lambda size_hw: run_torch_steps(network, size_hw, "fp32", "cpu"),
    )
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), i, i / 10, i / 10) for i in range(16)]
    with session:
        found = answers(ListSource(frames), session, every_s=0.4)
        watch = Watch(ListSource(frames), session, Options(), FakeTracker(), lambda: 0.0)
        ring = watch.take(frames[0])
        for frame in frames:
            ring.write(frame)
        shown = ring.pictures([f.time_s for f in frames])
        assert CausalStream(watch).seconds == pytest.approx(0.4)
    x1, y1, x2, y2 = (found[-1].detections.boxes.xyxy[0] * np.array([21 / 64, 16 / 48] * 2)).tolist()
    with torch.inference_mode():
        expected = network(torch.from_numpy(shown[None]), torch.tensor([[0, x1, y1, x2, y2]]))
    assert np.abs(found[-1].detections.action_scores - expected.numpy()).max() < 1e-4


def test_the_session_says_that_it_is_experimental_and_builds_steps(tmp_path, monkeypatch):
    network = give_statistics(create_network(NETWORK, seed=0))
    save_action_model(tmp_path / "clip.pt", CLIP_MODEL, network)
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    monkeypatch.setattr("detector.person.select.create_person_detector", lambda *a, **k: FakeDetector())
    monkeypatch.setattr("engine_build.person.accelerate", lambda detector, report: detector)
    options = {"engine": "torch", "report": lambda line: None}
    with open_session(str(tmp_path / "clip.pt"), causal=True, **options) as session:
        assert any(line.startswith("experimental: ") and line.endswith("look-ahead 0") for line in session.notices)
        session.prepare((48, 64)).result(60)
        assert session.engine_name == "causal torch fp32"
    # A file that was trained so runs so by itself, and is no experiment.
    save_action_model(tmp_path / "causal.pt", replace(MODEL, experimental=False), network)
    with open_session(str(tmp_path / "causal.pt"), **options) as session:
        assert not any("experimental" in line for line in session.notices)
        session.prepare((48, 64)).result(60)
        assert session.engine_name == "causal torch fp32"


def test_a_tube_model_is_refused_before_anything_is_loaded():
    with pytest.raises(UserError, match=r"--causal: .* sees a tube round each person"):
        open_session("bundled", causal=True)


def test_building_apart_knows_that_it_is_causal(tmp_path, monkeypatch):
    save_action_model(tmp_path / "clip.pt", CLIP_MODEL, create_network(NETWORK, seed=0))
    built = []

    def build(model, network, **more):
        built.append((model, more))
        return CausalFake()

    monkeypatch.setattr("engine_build.build_causal.build_causal_engine", build)
    arguments = json.dumps([str(tmp_path / "clip.pt"), [48, 64], "torch", "fp32", False, True])
    monkeypatch.setattr(sys, "argv", ["-c", arguments])
    session_module._build_only()
    assert built[0][0].network.causal
    assert built[0][1]["size_hw"] == (48, 64)
