"""`python -m engine_build`: what a person types wrong, and how figures are put together."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest

from detector.errors import UserError
from detector.sampling import Sampling
from detector.weights.zoo import action_models
from engine_build import __main__ as commands
from engine_build.bench import Turn, format_table, speed_rows
from engine_build.clips import read_clips
from engine_build.manifest import Manifest
from engine_build.profile import group_of
from tests.test_engine_build_cache import KEY

MODEL = action_models()["slowfast_8x8_r50"]


@pytest.mark.parametrize(
    ("text", "expected"), [(None, (256, 455)), ("256x340", (256, 340)), ("64X96", (64, 96))]
)
def test_size_is_height_by_width(text, expected):
    assert commands.parse_size(text, MODEL) == expected


@pytest.mark.parametrize("text", ["256", "256x", "axb", "16x400", "1x2x3", ""])
def test_a_wrong_size_says_what_is_wanted(text):
    with pytest.raises(UserError, match="expected HEIGHTxWIDTH"):
        commands.parse_size(text, MODEL)


@pytest.mark.parametrize("arguments", [["--pairs", "0"], ["--json", "/nowhere/at/all/bench.json"]])
def test_the_benchmark_refuses_before_it_works(arguments):
    with pytest.raises(UserError, match=arguments[0]):
        commands.main(["bench", *arguments])


def test_engines_have_one_option_name_and_the_former_one_works():
    assert commands.build_parser().parse_args(["--engine", "torch"]).engine == "torch"
    assert commands.build_parser().parse_args(["--target", "torch"]).engine == "torch"
    assert commands.build_parser().parse_args(["--weights", "x.pt"]).model == "x.pt"


@pytest.mark.parametrize(("arguments", "says"), [
    (["slowfast_8x8_r50"], r"slowfast_8x8_r50: unknown here; perhaps bench, or --model slowfast_8x8_r50\?"),
    (["--tagret", "torch"], "--tagret: unknown option"), (["--engien", "torch"], r"perhaps --engine\?"),
    (["--calibrate", "nope.mp4"], "--calibrate nope.mp4: no such file"), (["--model", "nope"], "model 'nope': unknown"),
    (["--engine", "torch", "--precision", "int8"], "--precision: got 'int8', expected auto or one of fp32, bf16"),
    (["bench", "--calibrate", "nope.mp4"], "--calibrate nope.mp4: no such file"),
])
def test_mistakes_are_told_before_anything_is_built(monkeypatch, arguments, says):
    monkeypatch.setattr(commands, "_model", lambda options: pytest.fail("weights were read"))
    with pytest.raises(UserError, match=says):
        commands.main(arguments)


@pytest.fixture
def video(tmp_path):
    """60 frames of 160x120 at 30 fps; the picture's brightness is the frame's number times four."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 120))
    for i in range(70):
        writer.write(np.full((120, 160, 3), 3 * i, np.uint8))
    writer.release()
    return path


def test_clips_of_a_video_are_spread_over_it_and_sampled_by_the_model(video):
    clips = read_clips(video, MODEL, (64, 85), 3)
    assert len(clips) == 3
    starts = [clip.images[0].mean() / 3 for clip in clips]
    assert starts == pytest.approx([0, 3.5, 7], abs=1.0)
    for clip in clips:
        assert clip.images.shape == (32, 64, 85, 3)
        numbers = clip.images.mean((1, 2, 3)) / 3
        assert np.diff(numbers) == pytest.approx(2, abs=0.7)  # every second frame
        assert clip.key_frame.image.mean() / 3 == pytest.approx(numbers[16], abs=1.0)
        assert clip.key_frame.size_hw == (120, 160)


def test_a_video_too_short_for_a_clip_says_how_long_it_must_be(video):
    import dataclasses

    long = dataclasses.replace(MODEL, sampling=Sampling(64, 2))
    with pytest.raises(UserError, match=r"70 readable frames, expected a video of at least 127 \(4.2 s\)"):
        read_clips(video, long, (64, 85), 3)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_one_line(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match="has 0 readable frames"):
        read_clips(path, MODEL, (64, 85), 1)


def test_speedups_are_medians_of_pairs():
    times = {
        "eager": [Turn(4.0, 8.0), Turn(2.0, 4.0), Turn(8.0, 8.0)],
        "fast": [Turn(1.0, 1.0), Turn(1.0, 1.0), Turn(1.0, 4.0)],
    }
    eager, fast = speed_rows(times)
    assert (eager["speedup"], fast["speedup"]) == (1.0, 4.0)
    assert (fast["median_s"], fast["min_s"], fast["cpu_speedup"]) == (1.0, 1.0, 4.0)
    assert "4.00" in format_table([eager, fast]).splitlines()[2]
    json.dumps([eager, fast])


@pytest.mark.parametrize(
    ("layer", "group"),
    [
        ("__module.network.s1.pathway1_stem.conv/aten::_convolution/Convolution", "stem fast"),
        ("__module.network.s4.pathway0_res3.branch2.b/aten::_convolution/Convolution", "res4 slow"),
        ("Multiply_9 __module.network.s5.pathway1_res0.branch1/aten::_convolution/Convolution", "res5 fast"),
        ("__module.network.s2_fuse.conv_f2s/aten::_convolution/Convolution", "laterals"),
        ("aten::mean/ReduceMean", "input, average and the rest"),
    ],
)
def test_layers_are_grouped_by_the_network_s_names(layer, group):
    assert group_of(layer) == group


def test_the_benchmark_passes_over_manifests_that_cannot_be_read(tmp_path):
    from engine_build.bench import _stored

    good = Manifest(KEY, {"engine.bin": {"bytes": 3, "sha256": "0" * 64}}, 1.0, "2026-01-01T00:00:00+00:00").to_json()
    for name, text in {"a": "[", "b": '{"schema": 1}', "c": "[" * 100_000, "d": good, "e": "x" * 2_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    (tmp_path / "f").mkdir()
    os.mkfifo(tmp_path / "f/manifest.json")
    (tmp_path / "g").mkdir()
    (tmp_path / "g/manifest.json").write_bytes(b"\xff\xfe")
    assert [folder.name for folder, _ in _stored(tmp_path, "tiny")] == ["d"]
