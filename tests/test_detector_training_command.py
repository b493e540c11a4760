"""`python -m detector.training` as a user runs it, on tiny networks and rendered squares."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from detector.data.batches import collate
from detector.data.box_clips import BoxClips
from detector.data.problems import Problems
from detector.data.samples import read_samples, sources_beside
from detector.errors import UserError, run_command
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.training.__main__ import main
from detector.training.checkpoints import read_checkpoint
from detector.training.journal import read_log
from detector.training.paper import PLANS
from detector.training.person import ONE_FRAME, PersonNetwork, PersonValidation, measure_people, people_alone
from detector.views import FrameView, TubeView
from detector.weights.choose import resolve_action_model
from detector.weights.model_file import read_action_model, save_action_model
from detector.weights.records import ActionModel

TINY = SlowFastConfig(num_frames=8, alpha=4, width=8, blocks=(1, 1, 1, 1), num_classes=3, beta_inv=2, dropout=0.0)
FAST = ["--device", "cpu", "--workers", "0", "--threads", "1"]


def write_person(path, hops: bool, seconds: float = 1.6):
    """A light block that stands still or hops by half its height twice a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(round(seconds * 15)):
            image = np.full((64, 96, 3), 60, np.uint8)
            lift = round(8 * abs(np.sin(2 * np.pi * i / 15))) if hops else 0
            image[24 - lift : 56 - lift, 40:56] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    lines = []
    for i in range(16):
        hops = i % 2 == 1
        write_person(folder / f"{i}.mp4", hops)
        lines.append(f"{i}.mp4,0.8,0.40,0.3,0.60,0.9,{'hop' if hops else 'rest'}")
    (folder / "my.csv").write_text("\n".join(lines) + "\n")
    labels = LabelMap("start", (Action(1, "walk"), Action(2, "rest"), Action(3, "run")))
    model = ActionModel("start", TINY, labels, Sampling(8, 3, 30.0), TubeView(32, 1.5, 64))
    save_action_model(folder / "start.pt", model, create_network(TINY, seed=3))
    return folder


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    return run_command(main)


def finetune(folder, output, *more: str) -> list[str]:
    return ["--recipe", "finetune", "--data", str(folder / "my.csv"), "--init", str(folder / "start.pt"),
            "--output", str(output), *FAST, *more]


def test_whole_frames_of_all_sizes_are_fine_tuned_at_the_default_batch(folder, tmp_path, monkeypatch):
    labels = LabelMap("start", (Action(1, "walk"), Action(2, "rest"), Action(3, "run")))
    model = ActionModel("start", TINY, labels, Sampling(8, 3, 30.0), FrameView(64))
    save_action_model(tmp_path / "frames.pt", model, create_network(TINY, seed=3))
    small = replace(PLANS["finetune"].augmentation, short_side_px=(64, 72))
    monkeypatch.setitem(PLANS, "finetune", replace(PLANS["finetune"], augmentation=small))
    arguments = finetune(folder, tmp_path / "mine", "--set", "steps=1", "--set", "validate_every=1")
    assert run(monkeypatch, *arguments, "--init", str(tmp_path / "frames.pt")) == 0
    assert read_action_model(tmp_path / "mine/model.pt")[0].view == FrameView(64)


@pytest.mark.parametrize(("name", "view", "settings", "processes", "parts"), [
    ("finetune", FrameView(), [], 1, 8), ("finetune", FrameView(), [], 4, 2), ("finetune", FrameView(), [], 3, 1),
    ("finetune", FrameView(), ["accumulation=2"], 1, 2), ("finetune", TubeView(), [], 1, 1),
    ("ava", FrameView(), [], 1, 1), ("kinetics", FrameView(), [], 1, 1),
])
def test_clips_of_their_own_sizes_are_computed_one_by_one(name, view, settings, processes, parts):
    plan = PLANS[name]
    recipe = plan.recipe_for(settings)
    apart = plan.clips_apart(recipe, view, settings, processes)
    assert (apart.accumulation, apart.batch) == (parts, recipe.batch)


@pytest.mark.slow
@pytest.mark.ci
def test_fine_tuning_gives_a_model_file_that_knows_the_new_actions(folder, tmp_path, monkeypatch, capsys):
    numbers = ("steps=20", "validate_every=10", "frozen=", "norm=local", "rate=0.01", "rate_factors=s*:1.0",
               "warmup_steps=2", "ema_decay=0.5")
    arguments = finetune(folder, tmp_path / "mine", *(part for n in numbers for part in ("--set", n)))
    assert run(monkeypatch, *arguments) == 0
    model, network = read_action_model(tmp_path / "mine/model.pt")
    assert [a.name for a in model.labels] == ["hop", "rest"]
    assert (model.sampling, model.view) == (Sampling(8, 3, 30.0), TubeView(32, 1.5, 64))
    assert "held-out clips of my.csv" in model.accuracy
    figures = json.loads((tmp_path / "mine/metrics.json").read_text())
    assert figures["mAP"] >= 0.9, "hopping and resting blocks are easy"
    assert not network.training
    for name in ("curves.png", "confusion.png", "precision_recall.png", "log.jsonl", "last.pt", "best.pt"):
        assert (tmp_path / "mine" / name).stat().st_size > 0, name
    assert any((tmp_path / "mine/tensorboard").iterdir())
    said = capsys.readouterr().out
    assert "13 clips to train on, 3 to validate on, 2 classes" in said
    assert f"--weights {tmp_path / 'mine/model.pt'}" in said
    assert "whole videos" in said
    assert "over 2 of 2 classes" in said
    assert "mAP over 2 of 2 classes" in model.accuracy
    last, last_network = read_action_model(tmp_path / "mine/model_last.pt")
    assert (last.labels, last.view) == (model.labels, model.view)
    kept = read_checkpoint(tmp_path / "mine/last.pt")["average"]["values"]
    assert all(torch.equal(last_network.state_dict()[n], v) for n, v in kept.items() if "num_batches" not in n)
    for name, words in {"best.pt": "best weights of a training run", "last.pt": "state of a training run"}.items():
        with pytest.raises(UserError, match=rf"{words}.*use model\.pt beside it"):
            resolve_action_model(str(tmp_path / "mine" / name))
    # A finished run is not trained again, and says the same.
    assert run(monkeypatch, *arguments) == 0
    again = read_action_model(tmp_path / "mine/model.pt")[1].state_dict()
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())


def test_a_class_that_validation_lacks_is_named_and_the_figure_counts_the_others(folder, tmp_path, monkeypatch, capsys):
    lines = (folder / "my.csv").read_text().splitlines()
    data, val = folder / "three.csv", folder / "val.csv"
    data.write_text("\n".join([*lines[:6], lines[6].rsplit(",", 1)[0] + ",fly"]) + "\n")
    val.write_text("\n".join(lines[8:10]) + "\n")
    arguments = finetune(folder, tmp_path, "--val", str(val), "--set", "steps=2", "--set", "batch=4")
    arguments[arguments.index("--data") + 1] = str(data)
    assert run(monkeypatch, *arguments) == 0
    said = capsys.readouterr()
    assert "validation lacks fly" in said.err
    assert "over 2 of 3 classes" in said.out
    assert "mAP over 2 of 3 classes" in read_action_model(tmp_path / "model.pt")[0].accuracy


def test_a_frozen_trunk_leaves_all_but_the_head(folder, tmp_path, monkeypatch):
    assert run(monkeypatch, *finetune(folder, tmp_path, "--freeze-trunk", "--set", "steps=3", "--set", "batch=4")) == 0
    before = read_action_model(folder / "start.pt")[1].state_dict()
    after = read_action_model(tmp_path / "model.pt")[1].state_dict()
    assert {n.split(".")[0] for n, v in after.items() if n not in before or not torch.equal(v, before[n])} == {"head"}


def test_the_head_keeps_actions_that_both_know():
    from detector.training.paper import find_plan
    from detector.training.starts import _copy

    old, new = create_network(TINY, seed=1), create_network(TINY, seed=2)
    old_labels = LabelMap("old", (Action(1, "walk"), Action(2, "rest"), Action(3, "run")))
    labels = LabelMap("new", (Action(1, "run"), Action(2, "hop"), Action(3, "walk")))
    fresh = new.head.projection.weight.detach().clone()
    _copy(old, new, old_labels, labels)
    expected = [old.head.projection.weight[2], fresh[1], old.head.projection.weight[0]]
    assert all(torch.equal(row, wanted) for row, wanted in zip(new.head.projection.weight, expected))
    assert torch.equal(new.s1.pathway0_stem.conv.weight, old.s1.pathway0_stem.conv.weight)
    assert find_plan("finetune").head == "detection"


@pytest.mark.parametrize(("change", "said"), [
    (["--recipe", "avaa"], "--recipe avaa: unknown, expected one of kinetics"),
    (["--data", "nowhere.csv"], "--data nowhere.csv: no such file or folder"),
    (["--init", "nowhere.pt"], "nowhere.pt"),
    (["--set", "bach=3"], "--set bach=3: expected NAME=VALUE with NAME one of loss"),
    (["--set", "batch=many"], "--set batch: got 'many', expected something like 8"),
    (["--recipe", "ava"], "expects the data set's folder"),
    (["--device", "cuda:9"], "cuda:9"),
    (["--device", "tpu9"], "--device tpu9: unknown"),
    (["--workers", "-1"], "expected no negative number"),
])
def test_mistakes_are_one_line(folder, tmp_path, monkeypatch, capsys, change, said):
    assert run(monkeypatch, *finetune(folder, tmp_path, "--set", "steps=1", *change)) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if line.startswith("error: ")]) == 1
    assert said in error[-1]


def test_a_broken_video_stops_or_is_left_out(folder, tmp_path, monkeypatch, capsys):
    (folder / "broken.mp4").write_bytes(b"nothing")
    text = (folder / "my.csv").read_text()
    (folder / "bad.csv").write_text("broken.mp4,0.8,0.4,0.3,0.6,0.9,hop\n" + text)
    arguments = [a.replace("my.csv", "bad.csv") for a in finetune(folder, tmp_path, "--set", "steps=1")]
    assert run(monkeypatch, *arguments) == 2
    assert "bad.csv, line 1: " in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--on-error", "skip") == 0
    assert "left out 1 x broken video" in capsys.readouterr().err


def test_recall_and_precision_worked_by_hand():
    """Picture 1: one of two people found surely, a second answer on the same one. Picture 2: found, but unsure.

    At 0.8: 1 hit of 2 answers, 1 of 3 people. Over all confidences: hit, false, hit: 1/3 * 1 + 1/3 * 2/3.
    """
    left, right = [0.0, 0, 10, 20], [50.0, 0, 60, 20]
    found = [
        (np.array([left, left]), np.array([0.99, 0.9])),
        (np.array([right]), np.array([0.5])),
        (np.zeros((0, 4)), np.zeros(0)),
    ]
    wanted = [np.array([left, right]), np.array([right]), np.zeros((0, 4))]
    figures = measure_people(found, wanted)
    assert (figures.recall, figures.precision) == (pytest.approx(1 / 3), 0.5)
    assert figures.ap50 == pytest.approx(1 / 3 + 2 / 9)


def test_people_are_handed_over_in_pixels_of_the_picture(folder):
    """A stand-in for Faster R-CNN notes what it is given, and finds a person where the block is."""
    seen = []

    class Stub(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, images, targets=None):
            seen.append((images, targets))
            if targets is not None:
                return {"a": 2 * self.weight.sum(), "b": self.weight.sum()}
            box = torch.tensor([[0.4, 0.3, 0.6, 0.9], [0, 0, 1, 1]]) * torch.tensor([384, 256, 384, 256])
            return [{"boxes": box, "labels": torch.tensor([1, 17]), "scores": torch.tensor([0.9, 0.99])}]

    labels = LabelMap("two", (Action(1, "hop"), Action(2, "rest")))
    samples = people_alone(read_samples(folder / "my.csv", labels, sources_beside(folder / "my.csv"), Problems()))
    clips, network = BoxClips(samples, ONE_FRAME, FrameView(256)), PersonNetwork(Stub())
    figures = PersonValidation(clips)(network)
    assert figures == {"AP50": 1.0, "recall": 1.0, "precision": 1.0}
    images, _ = seen[0]
    assert images[0].shape == (3, 256, 384)
    assert 0 <= images[0].min() < images[0].max() <= 1
    frames, rois, _ = collate([clips[0], clips[1]])
    assert network(frames, rois).tolist() == [[3.0]]
    _, targets = seen[-1]
    assert [t["labels"].tolist() for t in targets] == [[1], [1]]
    np.testing.assert_allclose(targets[1]["boxes"], [[153.6, 76.8, 230.4, 230.4]], rtol=1e-5)


@pytest.mark.slow
def test_the_person_detectors_loss_falls_and_its_file_loads(folder, tmp_path, monkeypatch):
    """Far too short for a detector from random weights to find anybody; that takes COCO's weights and AVA."""
    arguments = [
        "--recipe", "person", "--data", str(folder / "my.csv"), "--init", "random:torchvision_mobilenet",
        "--output", str(tmp_path), *FAST, "--set", "steps=30", "--set", "batch=2", "--set", "accumulation=2",
        "--set", "norm=local", "--set", "rate=0.02", "--set", "rate_batch=0", "--set", "warmup_steps=10",
    ]
    assert run(monkeypatch, *arguments) == 0
    losses = [line["loss"] for line in read_log(tmp_path) if "loss" in line]
    assert np.mean(losses[-2:]) < 0.5 * losses[0]
    assert set(json.loads((tmp_path / "metrics.json").read_text())) >= {"AP50", "recall", "precision"}
    from detector.person.faster_rcnn_torchvision import TorchvisionDetector

    TorchvisionDetector("torchvision_mobilenet", tmp_path / "person.pth")
