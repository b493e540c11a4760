"""Training of the bundled model: its loss, its metrics, still clips, and a whole tiny run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
pytest.importorskip("pybullet_data")

from detector.bundled import average as bundled_average
from detector.bundled import record as bundled_record
from detector.bundled import train as bundled
from detector.bundled.train import (
    SharedFrames,
    StillsToo,
    average_precision,
    metrics_on_renders,
    pose_and_hands_loss,
    score_clips,
)
from detector.errors import UserError, run_command
from detector.rendering import shards as render_shards
from detector.rendering.shards import RenderedClips, load_shards, write_shard
from detector.rendering.tubes import NAMES, POSES, TubeRecipe


@pytest.fixture
def shard_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(render_shards, "SHARD_CLIPS", 6)
    write_shard(tmp_path, 0, 0, TubeRecipe())
    write_shard(tmp_path, 0, 0, TubeRecipe(held_out=True))
    return tmp_path


def test_the_loss_is_cross_entropy_over_poses_plus_sigmoids_over_all():
    targets = torch.zeros(2, len(NAMES))
    targets[0, NAMES.index("sit")] = targets[0, NAMES.index("hand wave")] = targets[1, NAMES.index("walk")] = 1
    total, count = pose_and_hands_loss(torch.zeros(2, len(NAMES)), targets)
    assert count == 2
    assert total.item() == pytest.approx(2 * np.log(len(POSES)) + 2 * len(NAMES) * np.log(2), rel=1e-5)
    sure = torch.where(targets > 0, 20.0, -20.0)
    assert pose_and_hands_loss(sure, targets)[0].item() < 1e-3
    assert pose_and_hands_loss(-sure, targets)[0].item() > 100


@pytest.mark.parametrize(("scores", "positive", "expected"), [
    ([0.9, 0.8, 0.1], [1, 1, 0], 1.0),
    ([0.9, 0.8, 0.1], [0, 1, 0], 0.5),
    ([0.9, 0.8, 0.7], [1, 0, 1], (1 + 2 / 3) / 2),
])
def test_average_precision_by_hand(scores, positive, expected):
    assert average_precision(np.array(scores), np.array(positive)) == pytest.approx(expected)


def test_pose_accuracy_ignores_the_hands():
    targets = np.zeros((2, len(NAMES)), np.float32)
    targets[:, NAMES.index("stand")] = 1
    scores = np.zeros_like(targets)
    scores[:, NAMES.index("hand wave")] = 0.9
    scores[0, NAMES.index("stand")], scores[1, NAMES.index("walk")] = 0.5, 0.5
    assert metrics_on_renders(scores, targets)["pose_top1"] == 0.5


def test_still_people_are_sometimes_one_picture_and_walkers_never(shard_folder):
    clips = RenderedClips(load_shards([render_shards.shard_path(shard_folder, 0, False)]), augment=False)
    clips.shards.targets[:] = 0
    clips.shards.targets[:3, NAMES.index("sit")] = 1
    clips.shards.targets[3:, NAMES.index("walk")] = 1
    always = StillsToo(clips, 1.0, 8)
    for i in range(6):
        frames = always[i][0]
        same = bool((frames == frames[8]).all())
        assert same == (i < 3)
        assert np.array_equal(frames[8], clips[i][0][8])


class Middles(torch.nn.Module):
    """Says of each person the mean of the box, as RoIAlign would see it."""

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def forward(self, frames, rois):
        boxes = rois.round().int()
        return torch.stack([frames[i, :, y1:y2, x1:x2].float().mean() for i, x1, y1, x2, y2 in boxes.tolist()])[:, None]


def test_people_in_one_frame_are_found_where_their_boxes_are(shard_folder):
    clips = RenderedClips(load_shards([render_shards.shard_path(shard_folder, 0, False)]), augment=False)
    frames, boxes, targets = SharedFrames(clips, 2)[3]
    size = clips.shards.size
    assert frames.shape == (16, 2 * size, 2 * size, 3)
    assert (boxes.shape, targets.shape) == ((4, 4), (4, len(NAMES)))
    own, own_box, own_target = clips[3]
    assert np.array_equal(frames[:, :size, :size], own)
    assert np.array_equal(boxes[0], own_box[0])
    assert np.array_equal(targets[0], own_target[0])
    alone, shared = score_clips(Middles(), clips.shards), score_clips(Middles(), clips.shards, per_side=2)
    assert (len(alone), len(shared)) == (6, 4)
    np.testing.assert_allclose(shared, alone[:4], atol=0.5)
    assert np.ptp(alone) > 1


def test_a_tiny_run_trains_saves_and_goes_on(shard_folder, tmp_path, monkeypatch):
    argv = ["bundled", str(shard_folder), str(tmp_path / "run"), "--threads", "1", "--set", "steps=2", "batch=4",
            "validate_every=2"]
    monkeypatch.setattr("sys.argv", argv)
    assert run_command(bundled.main) == 0
    content = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert content["state"]["step"] == 2
    assert set(content["state"]["best_metrics"]) == {
        "pose_top1", "pose_mean_recall", "mAP"}
    monkeypatch.setattr("sys.argv", [*argv, "--init", str(tmp_path / "run" / "last.pt")])
    assert run_command(bundled.main) == 0  # finished: nothing left to do


def test_a_folder_without_shards_names_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bundled", str(tmp_path), str(tmp_path / "run")])
    assert run_command(bundled.main) == 2
    assert "python -m detector.rendering.shards" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ci
def test_several_runs_become_their_mean_with_statistics_of_its_own(shard_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled_average, "BATCH", 4)
    runs = []
    for seed in (1, 2):
        runs.append(str(tmp_path / str(seed)))
        monkeypatch.setattr("sys.argv", ["bundled", str(shard_folder), runs[-1], "--threads", "1", "--set", "steps=1",
                                         "batch=4", "validate_every=0", f"seed={seed}"])
        assert run_command(bundled.main) == 0
    argv = ["bundled_average", str(shard_folder), *runs, "--output", str(tmp_path / "mean"), "--clips", "4"]
    monkeypatch.setattr("sys.argv", argv)
    assert run_command(bundled_average.main) == 0
    first, second, mean = (bundled.read_weights(tmp_path / name / "last.pt") for name in ("1", "2", "mean"))
    assert mean.keys() == first.keys()
    for name, value in mean.items():
        halfway = (first[name].double() + second[name].double()) / 2
        if "running_" in name:
            assert torch.isfinite(value).all()
        elif value.is_floating_point():
            torch.testing.assert_close(value.double(), halfway, atol=1e-6, rtol=1e-5)
    seen = "s1.pathway0_stem.bn.running_mean"
    assert seen in mean
    assert not torch.allclose(mean[seen], (first[seen] + second[seen]) / 2, rtol=1e-3)


def test_frames_of_no_people_are_refused(shard_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bundled", str(shard_folder), str(tmp_path / "run"), "--per-side", "0"])
    assert run_command(bundled.main) == 2
    assert "--per-side 0: expected at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "says"), [
    (b"no weights at all", "cannot be read"), (b"", "cannot be read"), ({"network": {}}, "expected 1"),
    ([1, 2], "got format list"),
])
def test_a_checkpoint_that_is_none_is_one_line(tmp_path, content, says):
    path = tmp_path / "last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    for read in (lambda: bundled_record.load_run(tmp_path), lambda: bundled.read_weights(path)):
        with pytest.raises(UserError, match=says) as caught:
            read()
        assert "\n" not in str(caught.value)
