"""Measuring models by command, on tiny networks; the expected figures come from plain loops over the same scores."""

from __future__ import annotations

import csv
import json
import sys

import av
import numpy as np
import pytest
import torch

from detector.data.video import read_frames
from detector.errors import run_command
from detector.evaluation.__main__ import main, move_to_labelled_frames
from detector.evaluation.ava import FrameEntries
from detector.evaluation.multiview import score_people
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.weights.model_file import save_action_model
from detector.weights.records import ActionModel

NUMBERS = {"num_frames": 8, "alpha": 4, "width": 8, "blocks": (1, 1, 1, 1), "num_classes": 3, "beta_inv": 2}
LABELS = LabelMap("three", (Action(0, "fall"), Action(1, "rise"), Action(2, "rest")))
SAMPLING = Sampling(8, 3, 30.0)


def write_video(path, rng: np.random.Generator, seconds: float = 2.0):
    texture = rng.integers(0, 255, (300, 300, 3), np.uint8)
    dx, dy = rng.integers(-2, 3, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(round(seconds * 30)):
            image = np.roll(texture, (dy * i, dx * i), (0, 1))[:64, :96]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for i in range(5):
        write_video(folder / f"{i}.mp4", rng)
    (folder / "val.csv").write_text("".join(f"{i}.mp4 {i % 3}\n" for i in range(5)))
    (folder / "Charades_v1_test.csv").write_text(
        "id,actions,length\n" + "".join(f'{i},"c00{i % 3} 0 1;c001 0.5 1.5",2\n' for i in range(5)))
    (folder / "my.csv").write_text("".join(
        f"{i}.mp4,1.0,0.1,0.1,0.5,0.9,{LABELS[i % 3].name}\n{i}.mp4,1.0,0.5,0.1,0.9,0.9,\n" for i in range(5)))
    for name, more in (("videos.pt", {"head": "classification", "activation": "softmax"}), ("boxes.pt", {})):
        config = SlowFastConfig(**NUMBERS, **more)
        network = create_network(config, seed=4)
        torch.nn.init.normal_(network.head.projection.weight, std=0.5, generator=torch.Generator().manual_seed(1))
        save_action_model(folder / name, ActionModel(name, config, LABELS, SAMPLING), network)
    return folder


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluation", *map(str, arguments)])
    return run_command(main)


def expected_scores(folder, name: str, combine) -> np.ndarray:
    """Two clips x one centre crop, each frame fetched by its own number."""
    config = SlowFastConfig(**NUMBERS, head="classification", activation="softmax")
    network = create_network(config, seed=4).eval()
    torch.nn.init.normal_(network.head.projection.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    rows = []
    for i in range(5):
        views = []
        for start in (0, 18):  # 60 frames, a span of 24: spare 36, halves of it
            frames = read_frames(folder / f"{i}.mp4", (start + np.linspace(0, 23, 8).astype(int)) / 30, 256)
            crop = frames[:, :, 64:320]
            with torch.inference_mode():
                views.append(network(torch.from_numpy(np.ascontiguousarray(crop))[None])[0].numpy())
        rows.append(combine(np.stack(views), 0))
    return np.stack(rows)


def test_kinetics_top_k_of_many_views(folder, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "kinetics", "--data", folder, "--weights", folder / "videos.pt", "--clips", 2, "--crops", 1,
               "--device", "cpu", "--json", tmp_path / "k.json") == 0
    scores = expected_scores(folder, "videos.pt", np.mean)
    right = np.mean([scores[i].argmax() == i % 3 for i in range(5)])
    figures = json.loads((tmp_path / "k.json").read_text())
    assert figures == {"top1": pytest.approx(right), "top5": 1.0, "videos": 5, "clips": 2, "crops": 1}
    assert "over 5 videos, 2 clips x 1 crops each" in capsys.readouterr().out


def test_charades_map_takes_the_best_view(folder, tmp_path, monkeypatch):
    assert run(monkeypatch, "charades", "--data", folder, "--weights", folder / "videos.pt", "--clips", 2,
               "--crops", 1, "--device", "cpu", "--json", tmp_path / "c.json") == 0
    scores = expected_scores(folder, "videos.pt", np.max)
    truth = np.array([[c in (i % 3, 1) for c in range(3)] for i in range(5)])
    values = []
    for c in range(3):
        order = np.argsort(-scores[:, c])
        hits = truth[order, c]
        values.append(np.mean([(hits[: r + 1]).mean() for r in range(5) if hits[r]]))
    assert json.loads((tmp_path / "c.json").read_text())["mAP"] == pytest.approx(np.mean(values), abs=1e-6)


def test_a_models_predictions_measure_the_same_from_their_file(folder, tmp_path, monkeypatch, capsys):
    out, gt = tmp_path / "out.csv", tmp_path / "gt.csv"
    assert run(monkeypatch, "boxes", "--data", folder / "my.csv", "--weights", folder / "boxes.pt",
               "--predictions", out, "--device", "cpu", "--json", tmp_path / "a.json") == 0
    rows = list(csv.reader(out.open()))
    assert len(rows) == 5 * 2 * 3
    assert all(len(row) == 8 and 0 < float(row[7]) < 1 for row in rows)
    ids = {a.name: a.id for a in LABELS}
    with gt.open("w") as file:
        for row in csv.reader((folder / "my.csv").open()):
            if row[6]:
                print(",".join([*row[:6], str(ids[row[6]])]), file=file)
    (tmp_path / "labels.csv").write_text("id,name\n0,fall\n1,rise\n2,rest\n")
    assert run(monkeypatch, "ava", "--groundtruth", gt, "--predictions", out, "--labels", tmp_path / "labels.csv",
               "--json", tmp_path / "b.json") == 0
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    # Scores are written with five digits.
    assert first["mAP"] == pytest.approx(second["mAP"], abs=1e-6)
    assert [c["detections"] for c in second["classes"]] == [10, 10, 10]


@pytest.mark.slow
@pytest.mark.ci
def test_scales_and_mirror_images_are_averaged(folder, tmp_path, monkeypatch):
    """Against `score_people`, which resizes one decoded clip: so the films are decoded at the larger scale here too."""
    assert run(monkeypatch, "boxes", "--data", folder / "my.csv", "--weights", folder / "boxes.pt", "--device", "cpu",
               "--scales", 256, 192, "--flip", "--predictions", tmp_path / "many.csv") == 0
    found: dict[str, list[float]] = {}
    for row in csv.reader((tmp_path / "many.csv").open()):
        found.setdefault(row[0], []).append(float(row[7]))
    config = SlowFastConfig(**NUMBERS)
    network = create_network(config, seed=4).eval()
    torch.nn.init.normal_(network.head.projection.weight, std=0.5, generator=torch.Generator().manual_seed(1))

    def score(frames, rows):
        with torch.inference_mode():
            return network(torch.from_numpy(frames), torch.from_numpy(rows)).numpy()

    for i in range(5):
        total = 0
        for side in (256, 192):
            frames = read_frames(folder / f"{i}.mp4", 1.0 + SAMPLING.offsets_s, side, key_time_s=1.0)
            h, w = frames.shape[1:3]
            boxes = np.array([[0.1, 0.1, 0.5, 0.9], [0.5, 0.1, 0.9, 0.9]]) * [w, h, w, h]
            total = total + score_people(score, frames, boxes, (side,), flip=True)
        np.testing.assert_allclose(np.reshape(found[f"{i}.mp4"], (2, 3)), total / 2, atol=2e-5)


def test_wrong_models_and_lists_are_one_line(folder, monkeypatch, capsys):
    for arguments, said in (
        (("kinetics", "--data", folder, "--weights", folder / "boxes.pt"), "scores people in boxes"),
        (("kinetics", "--data", folder / "gone", "--weights", folder / "videos.pt"), "gone: no such file or folder"),
        (("charades", "--data", folder, "--list", folder / "val.csv", "--weights", folder / "videos.pt"), "expected '"),
        (("boxes", "--data", folder / "my.csv", "--weights", "nothing"), "model 'nothing': unknown"),
        (("boxes", "--data", folder / "my.csv", "--weights", folder / "boxes.pt", "--scales", 8), "at least 32 pixels"),
    ):
        assert run(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        assert said in error[0]


def test_predictions_move_to_the_nearest_labelled_frame():
    truth = FrameEntries({}, {("v", 1_000_000), ("v", 2_000_000)})
    a, b, c, d = ([(0.9, i, 0.0, 0.0, 1.0, 1.0)] for i in range(4))
    predictions = FrameEntries(
        {("v", 1_020_000): a, ("v", 990_000): b, ("v", 2_300_000): c, ("w", 1_000_000): d},
        {("v", 1_020_000), ("v", 990_000), ("v", 2_300_000), ("w", 1_000_000)},
    )
    moved = move_to_labelled_frames(predictions, truth, 0.05)
    assert moved.entries == {
        ("v", 1_000_000): b, ("v", 1_020_000): a, ("v", 2_300_000): c, ("w", 1_000_000): d}
    assert ("v", 1_000_000) in moved.frames
