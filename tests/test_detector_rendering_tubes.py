"""Rendered training clips, shards of them, and whole videos with labels."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("pybullet_data")

from detector.errors import run_command
from detector.labels import load_labels
from detector.rendering import shards as render_shards
from detector.rendering.body import sample_body
from detector.rendering.scene import cone_extents
from detector.rendering.shards import augment, load_shards, pack, unpack, write_shard
from detector.rendering.tubes import HANDS, NAMES, POSES, TubeRecipe, render_tube, source_seconds
from detector.rendering.video import (
    Label,
    Part,
    Role,
    draw_video,
    labels_of,
    main,
    perform,
    sample_act,
    sample_shot,
    visible_labels,
)
from detector.sampling import Sampling

RECIPE = TubeRecipe()


def test_classes_are_ava_names_in_the_order_of_their_ids():
    ava = load_labels("ava")
    ids = [ava[ava.find(name)].id for name in NAMES]
    assert [ava[ava.find(name)].name for name in NAMES] == list(NAMES)
    assert ids == sorted(ids)
    assert len(POSES) == 12
    assert HANDS == ("hand clap", "hand wave")


def test_a_clip_follows_its_seed_and_shows_one_pose():
    seen = set()
    for i in range(6):
        clip, again = render_tube((7, i), RECIPE), render_tube((7, i), RECIPE)
        assert np.array_equal(clip.frames, again.frames)
        assert clip.frames.shape == (16, 80, 80, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.targets[: len(POSES)].sum() == 1
        assert set(clip.targets) <= {0.0, 1.0}
        seen.add(clip.frames.tobytes())
    assert len(seen) == 6


def test_the_box_has_the_context_that_the_view_gives_it():
    for i in range(6):
        box = render_tube((8, i), RECIPE).box
        longer = max(box[2] - box[0], box[3] - box[1])
        assert RECIPE.view.size_px / longer == pytest.approx(RECIPE.view.context, rel=1e-3)
        assert np.allclose((box[:2] + box[2:]) / 2, RECIPE.view.size_px / 2, atol=1e-3)


def test_slow_sources_repeat_frames_and_moments_stay_near_those_asked_for():
    sampling = Sampling(num_frames=16, stride=3, fps=30.0)
    repeats = 0
    for seed in range(60):
        seconds = source_seconds(sampling, np.random.default_rng(seed))
        assert np.abs(seconds - sampling.offsets_s).max() <= 0.1 + 1e-9  # half a frame of the slowest source, 5 fps
        repeats += (np.diff(seconds) == 0).any()
    assert 3 < repeats < 40


def test_packing_keeps_pictures():
    frames = np.stack([np.full((16, 16, 3), v, np.uint8) for v in range(0, 240, 15)])
    assert np.abs(unpack(pack(frames), 16).astype(int) - frames).max() <= 3


def test_shards_are_written_once_and_read_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(render_shards, "SHARD_CLIPS", 3)
    paths = [write_shard(tmp_path, n, 1, RECIPE) for n in (0, 1)]
    before = paths[0].stat().st_mtime_ns
    assert write_shard(tmp_path, 0, 1, RECIPE) == paths[0]
    assert paths[0].stat().st_mtime_ns == before
    shards = load_shards(paths)
    clip = render_tube((1, 0, 1, 2), RECIPE)
    assert len(shards) == 6
    assert shards.variants[5] == clip.variant
    assert np.allclose(shards.boxes[5], clip.box)
    assert np.array_equal(shards.targets[5], clip.targets)
    assert np.abs(shards.frames(5).astype(int) - clip.frames).mean() < 6  # JPEG


def test_augmentation_keeps_the_box_on_the_person():
    frames = np.zeros((4, 40, 40, 3), np.uint8)
    frames[:, 10:30, 5:15] = 200
    box = np.array([5, 10, 15, 30], np.float32)
    for seed in range(20):
        np.random.seed(seed)
        changed, moved = augment(frames, box)
        x1, y1, x2, y2 = moved.astype(int)
        inside = changed[0, y1:y2, x1:x2].mean()
        assert inside > changed[0].mean() + 20


def test_labels_and_boxes_of_a_video_are_those_of_its_people():
    rng = np.random.default_rng(0)
    shot = sample_shot((320, 240), rng, person_px=120)
    act = sample_act("stand", rng)
    role = Role(sample_body(rng), (Part(0.0, 3.0, act),), (0.0, 0.0), 0.3, 1)
    seconds = np.arange(9) / 3
    actor, _ = perform(role, seconds)
    labels = labels_of(role, actor, seconds, shot.camera, shot.focal, shot.size_wh)
    assert [(label.second, label.names) for label in labels] == [(1.0, ("stand",)), (2.0, ("stand",))]
    exact = cone_extents(actor, shot.camera)[3] * shot.focal + np.array([160, 120] * 2)
    assert np.allclose(labels[0].box * np.array([320, 240] * 2), exact, atol=1e-6)
    empty, full = (next(iter(draw_video(shot, roles, seconds, 0.0, 0.0, rng))) for roles in ([], [role]))
    changed = np.abs(full.astype(int) - empty).max(-1) > 25
    x1, y1, x2, y2 = exact.astype(int)
    assert changed[y1:y2, x1:x2].mean() > 0.15


def test_people_behind_others_carry_no_label():
    near, far, apart = (Label(1.0, i, np.array(box), ("stand",)) for i, box in enumerate(
        [(0.1, 0.1, 0.3, 0.9), (0.15, 0.2, 0.32, 0.8), (0.6, 0.1, 0.8, 0.9)]))
    assert visible_labels([(5.0, [near]), (9.0, [far]), (9.0, [apart])]) == [near, apart]
    assert len(visible_labels([(5.0, [near]), (4.0, [far])])) == 1  # now the other one is behind


@pytest.mark.parametrize("seconds", ["0.6", "3"])
def test_the_command_writes_a_video_and_ava_rows(seconds, tmp_path, monkeypatch):
    path = tmp_path / "street.mp4"
    argv = ["render", str(path), "--seconds", seconds, "--people", "2", "--fps", "5", "--size", "160x96", "--seed", "4"]
    monkeypatch.setattr("sys.argv", argv)
    assert run_command(main) == 0
    assert path.stat().st_size > 500
    ava = load_labels("ava")
    for row in csv.reader(path.with_suffix(".csv").open()):
        assert row[0] == "street"
        assert int(row[6]) in ava.column_of_id
        assert int(row[7]) in (1, 2)
        assert all(0 <= float(v) <= 1 for v in row[2:6])


@pytest.mark.parametrize("bad", [
    ["--people", "7"], ["--size", "161x96"], ["--size", "big"], ["--seconds", "0"], ["--seconds", "-3"], ["--fps", "0"],
])
def test_wrong_numbers_end_with_one_line(bad, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["render", str(tmp_path / "x.mp4"), *bad])
    assert run_command(main) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: --")
    assert bad[0] in line
