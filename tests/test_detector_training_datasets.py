"""The published data sets' layouts, from a folder to a trained file by one command; everything is tiny."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest

from detector.data.problems import Problems
from detector.errors import UserError, run_command
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.training.__main__ import main
from detector.training.datasets import Sources, open_clips
from detector.training.paper import find_plan
from detector.weights.model_file import read_action_model, save_action_model
from detector.weights.records import ActionModel

NUMBERS = {"num_frames": 8, "alpha": 4, "width": 8, "blocks": (1, 1, 1, 1), "beta_inv": 4}
SAMPLING = Sampling(8, 3, 30.0)


def write_video(path, seconds: float = 5.0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(round(seconds * 10)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(
                np.full((64, 96, 3), 5 * i % 256, np.uint8), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    ava = folder / "ava"
    (ava / "videos_15min").mkdir(parents=True)
    (ava / "annotations").mkdir()
    for name in ("aaaaaaaaaaa", "bbbbbbbbbbb"):
        write_video(ava / f"videos_15min/{name}.mp4")
    (ava / "annotations/ava_train_v2.2.csv").write_text(
        "aaaaaaaaaaa,0902,0.1,0.1,0.5,0.9,12,0\naaaaaaaaaaa,0902,0.1,0.1,0.5,0.9,80,0\n"
        "aaaaaaaaaaa,0902,0.6,0.1,0.9,0.9,11,1\naaaaaaaaaaa,0903,0.1,0.1,0.5,0.9,12,0\n"
        "aaaaaaaaaaa,0904,0.1,0.1,0.5,0.9,14,0\n")
    (ava / "annotations/ava_train_excluded_timestamps_v2.2.csv").write_text("aaaaaaaaaaa,0904\n")
    (ava / "annotations/ava_val_v2.2.csv").write_text("bbbbbbbbbbb,0902,0.1,0.1,0.5,0.9,12,0\n")
    (folder / "boxes.csv").write_text(
        "bbbbbbbbbbb,0902,0.1,0.1,0.5,0.9,,0.95\nbbbbbbbbbbb,0902,0.6,0.1,0.9,0.9,,0.5\n")
    kinetics = folder / "kinetics"
    kinetics.mkdir()
    for i in range(3):
        write_video(kinetics / f"{i}.mp4", 2.0)
    for part in ("train", "val"):
        (kinetics / f"{part}.csv").write_text("0.mp4 7\n1.mp4 8\n2.mp4 399\n")
    labels = load_labels("kinetics400")
    config = SlowFastConfig(**NUMBERS, num_classes=400, head="classification", activation="softmax")
    start = ActionModel("start", config, labels, SAMPLING)
    save_action_model(folder / "start.pt", start, create_network(config, seed=1))
    return folder


def sources(folder, **more) -> Sources:
    return Sources("ava", folder / "ava", None, "", more.get("proposals"), more.get("boxes"), 0.8, Problems())


def model() -> ActionModel:
    return ActionModel("m", SlowFastConfig(**NUMBERS), load_labels("ava"), SAMPLING)


def test_avas_folder_gives_its_key_frames(folder):
    clips = open_clips(sources(folder), find_plan("ava"), model())
    first, second = clips.train.samples
    assert (first.time_s, second.time_s) == (2.0, 3.0), "movies are cut at 15:00, excluded key frames left out"
    assert [np.flatnonzero(row).tolist() for row in first.targets] == [[11, 79], [10]]
    frames, _, targets = clips.train[0]
    assert (frames.shape, targets.shape[1]) == ((8, 224, 224, 3), 80)
    assert clips.validation[0][0].shape == (8, 256, 384, 3)
    assert clips.truth is None


def test_validation_on_a_detectors_boxes(folder):
    clips = open_clips(sources(folder, boxes=folder / "boxes.csv"), find_plan("ava"), model())
    (sample,) = clips.validation.samples
    np.testing.assert_allclose(sample.boxes, [[0.1, 0.1, 0.5, 0.9]], atol=1e-6)
    assert np.isnan(sample.targets).all()
    assert clips.truth is not None
    assert len(clips.truth.entries["bbbbbbbbbbb", 902_000_000]) == 1


def test_a_folder_that_lacks_something_says_what(folder, tmp_path):
    for kind, said in (("ava", "expected a folder of AVA's movies"), ("kinetics", "expected train.csv")):
        wanted = Sources(kind, tmp_path, None, "", None, None, 0.8, Problems())
        with pytest.raises(UserError, match=said):
            open_clips(wanted, find_plan(kind), model())


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(("recipe", "classes", "head"), [("ava", 80, "detection"), ("kinetics", 400, "classification")])
def test_a_recipe_runs_from_kinetics_weights_to_a_file(folder, tmp_path, monkeypatch, recipe, classes, head):
    arguments = ["--recipe", recipe, "--data", str(folder / recipe), "--init", str(folder / "start.pt"), "--output",
                 str(tmp_path / recipe), "--device", "cpu", "--workers", "0", "--threads", "1"]
    for number in ("steps=2", "batch=2", "precision=fp32", "warmup_steps=1", "rate=0.1", "rate_batch=0"):
        arguments += ["--set", number]
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    assert run_command(main) == 0
    trained, _ = read_action_model(tmp_path / recipe / "model.pt")
    assert (trained.network.num_classes, trained.network.head) == (classes, head)
    assert trained.network.dropout == 0.5
    assert (tmp_path / recipe / "curves.png").exists()


def test_ava_does_not_start_from_what_happens_to_be_here(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training", "--recipe", "ava", "--data", str(folder / "ava")])
    assert run_command(main) == 2
    assert "starts from Kinetics weights" in capsys.readouterr().err
