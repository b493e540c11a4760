"""The GPU's decoder, on stand-ins: which way is taken, and the one line where there is none."""

from __future__ import annotations

import json
import types

import pytest

from stream import hardware_decode
from stream.hardware_decode import Way, find_way, main, measure


def loader(devices=None, torchcodec=None):
    def load(name):
        if name == "av.codec.hwaccel":
            if devices is None:
                raise ImportError(name)
            return types.SimpleNamespace(hwdevices_available=lambda: devices)
        if isinstance(torchcodec, Exception):
            raise torchcodec
        return torchcodec

    return load


@pytest.mark.parametrize(("load", "gpu", "expected"), [
    (loader(["cuda", "qsv"], ImportError()), True, Way("pyav")),
    (loader(["qsv"], object()), True, Way("torchcodec")),
    (loader(None, object()), True, Way("torchcodec")),
    (loader(["cuda"], object()), False, Way("", "no NVIDIA GPU")),
    (loader(["qsv"], ImportError()), True,
     Way("", "this PyAV was built without CUDA; torchcodec is not installed (pip install torchcodec)")),
    (loader(None, RuntimeError("libavutil.so.60\nand more")), True,
     Way("", "PyAV has no hardware decoding (pip install 'av>=14'); torchcodec does not load (libavutil.so.60)")),
])
def test_the_way_to_the_decoder(load, gpu, expected):
    assert find_way(load, lambda: gpu) == expected


def test_without_a_gpu_the_cpu_is_measured_and_one_line_says_why(write_video):
    figures = measure(str(write_video(frames=12)), lambda: Way("", "no NVIDIA GPU"), frames=10)
    assert figures["frames"] == 10
    assert figures["cpu_fps"] > 0
    assert figures["gpu"] == "left out: no NVIDIA GPU"


def test_a_decoder_that_fails_costs_its_figure_alone(write_video, monkeypatch):
    """PyAV may have been built for a GPU that is not there: then opening says no, in words of its own."""
    figures = measure(str(write_video()), lambda: Way("pyav"), frames=5)
    assert figures["cpu_fps"] > 0
    if "gpu_fps" not in figures:
        assert figures["gpu"].startswith("left out: pyav cannot (")
        assert "\n" not in figures["gpu"]


def test_frames_of_the_gpu_are_counted(write_video, monkeypatch):
    ways = []

    def count(path, way, frames):
        ways.append(way)
        return frames, 0.5 if way == "cpu" else 0.1

    monkeypatch.setattr(hardware_decode, "count_frames", count)
    figures = measure("x/film.mp4", lambda: Way("torchcodec"), frames=50)
    assert ways == ["cpu", "torchcodec"]
    assert figures == {"source": "film.mp4", "frames": 50, "cpu_fps": 100.0, "gpu": "torchcodec", "gpu_fps": 500.0}


def test_the_command_writes_its_figures(write_video, tmp_path):
    out = tmp_path / "out.json"
    assert main(["--source", str(write_video()), "--frames", "5", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["frames"] == 5
