"""From files to answers, as the program itself does it: `stream`'s own commands, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from detector.errors import UserError
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.people import create_network

SAMPLE = Path(__file__).resolve().parents[2] / "stream" / "samples" / "sample.mp4"
CAMERAS, QUICK_CAMERAS = (1, 4, 8, 16), (1, 2)
SECONDS, QUICK_SECONDS = 20.0, 3.0
PEOPLE = 4
# Figures that are shown while the steps run; all are written down.
SHOWN = ("cameras", "clips_per_s", "pictures_percent_worst", "frames_drawn_percent", "cores_busy", "cpu_fps", "gpu",
         "gpu_fps")
# What a command takes to start, build its engine and end.
AROUND_S = 30.0


def run_decode(context: Context) -> None:
    """Frames a second of the sample, on the CPU and by the GPU's decoder."""
    frames = ["--frames", "30"] if context.quick else []
    figures = _run(context, "stream.hardware_decode", ["--source", str(SAMPLE), *frames])
    for name, value in figures.items():
        context.put(name, value)


def run_cameras(context: Context) -> None:
    """The sample as 1, 4, 8 and 16 cameras: bundled model, Faster R-CNN for people, nothing shown."""
    with tempfile.TemporaryDirectory() as folder:
        detector, people = _detector(context, Path(folder))
        context.put("detector", detector if detector == "auto" else "torchvision, random weights; its answers replaced")
        for cameras in QUICK_CAMERAS if context.quick else CAMERAS:
            seconds = QUICK_SECONDS if context.quick else SECONDS
            if context.left_s() < seconds + AROUND_S:
                context.put("cameras", str(cameras), {"why": "no time left"})
                continue
            arguments = [
                "--source", str(SAMPLE), "--seconds", f"{seconds:g}", "--model", "bundled", "--detector", detector,
                "--engine", "torch_cuda" if context.device == "cuda" else "torch", "--streams", str(cameras), *people,
            ]
            context.put("cameras", str(cameras), _run(context, "stream.bench", arguments))


def _detector(context: Context, folder: Path) -> tuple[str, list[str]]:
    """The detector for GPUs where its weights are here; else one of random weights, and people at fixed places."""
    from detector.zoo import DETECTOR_MODELS

    from detector.weights.cache import cached_path

    weights = DETECTOR_MODELS["torchvision_resnet50"].weights
    if not context.quick and weights is not None and cached_path(weights):
        return "auto", []
    path = folder / "random.pth"
    torch.save(create_network(context.quick).state_dict(), path)
    return str(path), ["--people", str(PEOPLE)]


def _run(context: Context, module: str, arguments: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", module, *arguments, "--json", str(path)]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(context.left_s(), 1.0))
        if found.returncode or not path.is_file():
            lines = (found.stderr or found.stdout).strip().splitlines()
            raise UserError(f"{module}: exit code {found.returncode}: {lines[-1] if lines else 'nothing said'}")
        figures = json.loads(path.read_text(encoding="utf-8"))
    context.report(f"{module}: {', '.join(f'{k} {v}' for k, v in figures.items() if k in SHOWN)}")
    return figures


