"""Causal networks in training: records and files, which frames they and their teacher see, and that they learn."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from detector.data.box_clips import BoxClips
from detector.errors import UserError, run_command
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.causal_conv import CausalConv3d
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network, with_causality
from detector.training.__main__ import main
from detector.training.distillation import Distillation, training_sampling
from detector.training.loop import train
from detector.training.recipe import Execution, Recipe
from detector.views import FrameView, TubeView
from detector.weights.choose import load_action_model, resolve_action_model
from detector.weights.model_file import (
    read_action_model,
    read_record,
    record_from_json,
    record_to_json,
    save_action_model,
)
from detector.weights.records import ActionModel
from detector.weights.zoo import action_models

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = SlowFastConfig(num_frames=8, alpha=4, width=8, blocks=(1, 1, 1, 1), num_classes=2, beta_inv=2, dropout=0.0)
LABELS = LabelMap("own", (Action(1, "hop"), Action(2, "rest")))
CLIP_MODEL = ActionModel("start", TINY, LABELS, Sampling(8, 2, 30.0), FrameView(48))


@pytest.mark.parametrize(
    ("sampling", "key_index", "ahead_s"),
    [(Sampling(32, 2), 16, 1.0), (Sampling(32, 2, ahead=0), 31, 0.0), (Sampling(47, 2, ahead=15), 31, 1.0),
     (Sampling(4, 16), 2, 16 / 30)],
)
def test_where_the_key_frame_lies(sampling, key_index, ahead_s):
    assert sampling.key_index == key_index
    assert sampling.look_ahead_s == pytest.approx(ahead_s)
    assert sampling.offsets_s[key_index] == 0


def test_a_key_frame_outside_of_its_clip_is_refused():
    for ahead in (-1, 8):
        with pytest.raises(ValueError, match="ahead: got"):
            Sampling(8, 2, ahead=ahead)


def test_a_record_made_causal_keeps_tensors_and_loses_what_it_does_not_know():
    model = action_models()["slowfast_8x8_r50"]
    causal = model.as_causal()
    assert causal.network == replace(model.network, causal=True)
    assert causal.sampling.look_ahead_s == 0
    assert causal.name == "slowfast_8x8_r50-causal"
    assert causal.accuracy == ""
    assert causal.experimental
    assert causal.weights == model.weights
    assert causal.as_causal() is causal
    assert record_from_json(record_to_json(causal)) == causal


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (action_models()["slowfast_8x8_r101_nl"], r"--causal: slowfast_8x8_r101_nl .*s4\.pathway0_nonlocal6"),
        (replace(CLIP_MODEL, view=TubeView(32)), "--causal: start sees a tube .*slowfast_8x8_r50"),
    ],
)
def test_what_cannot_be_causal_says_so_in_one_line(model, message):
    with pytest.raises(UserError, match=message):
        model.as_causal()


def test_clip_weights_load_into_the_causal_network_from_any_file(tmp_path):
    from detector.slowfast.checkpoints import save_state

    network = create_network(TINY, seed=3)
    save_action_model(tmp_path / "own.pt", CLIP_MODEL, network)
    save_state(network, tmp_path / "published.pyth", "pytorchvideo")
    record, path = resolve_action_model(str(tmp_path / "own.pt"))
    published = replace(CLIP_MODEL.as_causal())
    for model, file in ((record.as_causal(), path), (published, tmp_path / "published.pyth")):
        loaded = load_action_model(model, file)
        assert loaded.config.causal
        assert any(isinstance(m, CausalConv3d) for m in loaded.modules())
        assert all(torch.equal(v, network.state_dict()[n]) for n, v in loaded.state_dict().items())
        assert not loaded.training


def test_a_file_says_which_kind_it_is(tmp_path):
    causal = CLIP_MODEL.as_causal()
    save_action_model(tmp_path / "causal.pt", causal, create_network(causal.network, seed=0))
    record, network = read_action_model(tmp_path / "causal.pt")
    assert record.network.causal
    assert record.sampling.look_ahead_s == 0
    assert any(isinstance(m, CausalConv3d) for m in network.modules())
    assert not with_causality(network, False).config.causal


def test_a_teacher_sees_what_comes_after_and_the_student_does_not():
    causal = CLIP_MODEL.as_causal()
    assert training_sampling(causal, CLIP_MODEL, True) == Sampling(11, 2, 30.0, ahead=3)
    assert training_sampling(causal, CLIP_MODEL, False) == causal.sampling
    assert training_sampling(causal, None, True) == causal.sampling
    longer = replace(causal, sampling=Sampling(16, 2, 30.0, ahead=0))
    sampling = training_sampling(longer, CLIP_MODEL, True)
    frames = torch.arange(sampling.num_frames)[None]
    student, teacher = create_network(causal.network, seed=0), create_network(TINY, seed=1)
    distillation = Distillation(CLIP_MODEL, teacher, longer, student)
    seen = distillation.students_part(frames)[0].tolist()
    assert seen == list(range(16))
    assert seen[-1] == sampling.key_index
    # The last frames of the clip, as the teacher takes them, have the key frame where it belongs.
    assert frames[0, -8:].tolist().index(sampling.key_index) == CLIP_MODEL.sampling.key_index


def test_distillation_is_the_distance_of_features_and_of_scores():
    """By the formulas; and gradients reach the student alone."""
    causal = CLIP_MODEL.as_causal()
    student, teacher = create_network(causal.network, seed=0).train(), create_network(TINY, seed=1)
    distillation = Distillation(CLIP_MODEL, teacher, causal, student, 0.5, 2.0)
    assert distillation.about == "distillation: scores of 2 actions and features"
    frames = torch.randint(0, 256, (2, 11, 48, 48, 3), dtype=torch.uint8)
    rois = torch.tensor([[0, 4.0, 4, 30, 40], [1, 0.0, 0, 40, 40]])
    logits = student(distillation.students_part(frames), rois, activate=False)
    loss = distillation.loss(logits, frames, rois, "fp32")
    with torch.no_grad():
        theirs = teacher.forward_trunk(frames[:, 3:])
        scores = teacher.forward_head(theirs, rois)
        mine = student.eval().forward_trunk(frames[:, :8])
    loss.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())
    student.head.train()  # the hook listens to a head in training
    logits = student(frames[:, :8], rois, activate=False)
    found = float(distillation.loss(logits.detach(), frames, rois, "fp32").detach())
    p, q = torch.sigmoid(logits.detach()), scores
    entropy = -(q * p.log() + (1 - q) * (1 - p).log()).mean()
    expected = 0.5 * float(entropy) + 2.0 * float((mine - theirs).square().mean() / theirs.square().mean())
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        (replace(CLIP_MODEL, view=TubeView(32)), CLIP_MODEL.as_causal(), "sees another view"),
        (replace(CLIP_MODEL, sampling=Sampling(8, 3)), CLIP_MODEL.as_causal(),
         r"a frame each 0\.100 s, expected 0\.067"),
        (CLIP_MODEL, CLIP_MODEL, "look back only; add --causal"),
        (replace(CLIP_MODEL, sampling=Sampling(32, 2)), CLIP_MODEL.as_causal(), "17 frames up to the key frame"),
        (replace(CLIP_MODEL, labels=LabelMap("x", (Action(1, "a"), Action(2, "b"))), network=replace(TINY, width=16)),
         CLIP_MODEL.as_causal(), "shares neither actions nor"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(teacher, student, message):
    with pytest.raises(UserError, match=f"--distill start: .*{message}"):
        Distillation(teacher, create_network(teacher.network), student, create_network(student.network))


class Moving:
    """A bright square that hops from side to side or stays."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        moves = index % 2
        x, y = rng.integers(0, 12, 2)
        frames = np.full((self.frames, 32, 32, 3), 60, np.uint8)
        for t in range(self.frames):
            step = 3 * (t % 2) * moves
            frames[t, y : y + 16, x + step : x + step + 16] = 220
        return frames, np.array([[2, 2, 30, 30]], np.float32), np.array([[moves, 1 - moves]], np.float32)


def scores_right(network) -> int:
    right = 0
    with torch.inference_mode():
        for index in range(24):
            frames, boxes, targets = Moving(8)[index]
            scores = network(torch.from_numpy(frames[None]), torch.from_numpy(np.insert(boxes, 0, 0, 1)))
            right += int(scores.argmax()) == int(targets.argmax())
    return right


@pytest.mark.slow
def test_a_causal_network_learns(tmp_path):
    network = create_network(CLIP_MODEL.as_causal().network, seed=0)
    recipe = Recipe(rate=0.05, steps=30, batch=8, warmup_steps=3, causal=True)
    train(network, Moving(8), recipe, tmp_path, execution=Execution(device="cpu", progress=False))
    assert scores_right(network) >= 22


@pytest.mark.slow
def test_a_teacher_draws_the_features_of_its_own_weights_towards_its_own(tmp_path):
    teacher = create_network(TINY, seed=1).eval()
    causal = CLIP_MODEL.as_causal()
    student = with_causality(create_network(TINY, seed=1), True)

    def distance() -> float:
        with torch.inference_mode():
            clips = [torch.from_numpy(Moving(11)[i][0][None]) for i in range(8)]
            pairs = [(student.eval().forward_trunk(c[:, :8]), teacher.forward_trunk(c[:, 3:])) for c in clips]
        return float(np.mean([float((a - b).square().mean() / b.square().mean()) for a, b in pairs]))

    before = distance()
    distillation = Distillation(CLIP_MODEL, teacher, causal, student, 0.0, 1.0)
    recipe = Recipe(optimizer="adamw", rate=2e-3, steps=30, batch=4, weight_decay=0.0, norm="frozen", causal=True)
    train(student, Moving(11), recipe, tmp_path, execution=Execution(device="cpu", progress=False),
          distillation=distillation)
    assert before > 0.02
    assert distance() < 0.6 * before


@pytest.fixture
def own_data(tmp_path):
    lines = []
    for i in range(6):
        with av.open(str(tmp_path / f"{i}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=15, options={"crf": "20"})
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for t in range(24):
                image = np.full((64, 96, 3), 60, np.uint8)
                lift = 8 * (t % 2) * (i % 2)
                image[24 - lift : 56 - lift, 40:56] = 220
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        lines.append(f"{i}.mp4,0.8,0.40,0.3,0.60,0.9,{'hop' if i % 2 else 'rest'}")
    (tmp_path / "my.csv").write_text("\n".join(lines) + "\n")
    save_action_model(tmp_path / "start.pt", CLIP_MODEL, create_network(TINY, seed=3))
    tube = replace(CLIP_MODEL, view=TubeView(32, 1.5, 48))
    save_action_model(tmp_path / "tube.pt", tube, create_network(TINY, seed=3))
    return tmp_path


def command(folder, *more: str) -> list[str]:
    return ["training", "--recipe", "finetune", "--data", str(folder / "my.csv"), "--device", "cpu", "--workers", "0",
            "--threads", "1", "--output", str(folder / "run"), "--set", "steps=1", "--set", "batch=1", *more]


@pytest.mark.slow
@pytest.mark.ci
def test_the_command_trains_a_causal_network_with_a_teacher(own_data, monkeypatch, capsys):
    seen = []
    read = BoxClips.__getitem__

    def note(self, index):
        item = read(self, index)
        seen.append((self.augmentation is not None, len(item[0])))
        return item

    monkeypatch.setattr(BoxClips, "__getitem__", note)
    start = str(own_data / "start.pt")
    more = ["--init", start, "--causal", "--clip-frames", "12", "--distill", start]
    monkeypatch.setattr(sys, "argv", command(own_data, *more))
    assert run_command(main) == 0
    assert "distillation: scores of 2 actions and features" in capsys.readouterr().out
    record = read_record(own_data / "run/model.pt")
    assert record.network.causal
    assert record.sampling == Sampling(12, 2, 30.0, ahead=0)
    assert set(seen) == {(True, 15), (False, 12)}
    # A folder of a causal run does not go on as another, although tensors have the same names and shapes.
    monkeypatch.setattr(sys, "argv", command(own_data, "--init", start))
    assert run_command(main) == 2
    assert "causal: True -> False" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--init", "tube.pt", "--causal"], "sees a tube round each person"),
        (["--init", "start.pt", "--clip-frames", "16"], "--clip-frames: is for causal networks"),
        (["--init", "start.pt", "--causal", "--clip-frames", "10"], "expected a multiple of 4, 8 or more"),
        (["--init", "start.pt", "--distill", "start.pt"], "look back only; add --causal"),
        (["--recipe", "person", "--causal"], "the person recipe trains no action network"),
    ],
)
def test_mistakes_are_one_line(own_data, monkeypatch, capsys, more, said):
    more = [str(own_data / part) if part.endswith(".pt") else part for part in more]
    monkeypatch.setattr(sys, "argv", command(own_data, *more))
    assert run_command(main) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [{"ahead": None}, {"ahead": 1}, {"num_frames": 4}, {"num_frames": 10}, {"num_frames": 10**9}, {"ahead": "0"},
     {"num_frames": "8"}],
)
def test_a_causal_record_whose_clips_make_no_steps_is_damaged(changes):
    record = json.loads(record_to_json(CLIP_MODEL.as_causal()))
    record_from_json(json.dumps(record))
    record["sampling"] |= changes
    with pytest.raises((ValueError, TypeError)):
        record_from_json(json.dumps(record))
