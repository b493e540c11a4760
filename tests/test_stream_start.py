"""A start that finds its engine asks for no torch, and answers as one that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.person import ssdlite_graph
from detector.weights.choose import bundled_path

ROOT = Path(__file__).resolve().parent.parent
# Runs a module as the command line does, with a hook that lets nobody import torch.
WITHOUT_TORCH = """
import runpy, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is asked for")
sys.meta_path.insert(0, NoTorch())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(folder: Path, *arguments: str, torch: bool) -> subprocess.CompletedProcess[str]:
    program = ["-m"] if torch else ["-c", WITHOUT_TORCH]
    environment = {**os.environ, "SLOWFAST_CACHE": str(folder), "SLOWFAST_ENGINES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
        check=False,
    )


def watch(folder: Path, name: str, *, torch: bool) -> list[dict]:
    """The JSON lines of the first second of the bundled clip."""
    lines = folder / name
    done = run(
        folder, "stream.webcam", "sample", "--seconds", "1", "--display", "none", "--jsonl", str(lines), "--all-scores",
        "--ava-csv", str(lines.with_suffix(".csv")), "--engine", "openvino", "--precision", "fp32", torch=torch,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in lines.read_text().splitlines()]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache that one run with torch has filled, and that run's answers."""
    pytest.importorskip("openvino")
    if bundled_path() is None or ssdlite_graph.graph_path() is None:
        pytest.skip("needs the bundled model and the person graph")
    folder = tmp_path_factory.mktemp("cache")
    return folder, watch(folder, "with.jsonl", torch=True)


@pytest.mark.slow
@pytest.mark.ci
def test_a_warm_start_needs_no_torch_and_answers_the_same(warm):
    folder, expected = warm
    found = watch(folder, "without.jsonl", torch=False)
    assert len(found) == len(expected) >= 2
    assert any(line["people"] for line in expected)
    assert [[p["id"] for p in line["people"]] for line in found] == [
        [p["id"] for p in line["people"]] for line in expected
    ]
    mine, theirs = (np.loadtxt(folder / f"{name}.csv", delimiter=",", usecols=range(1, 8)) for name in
                    ("without", "with"))
    assert mine.shape == theirs.shape
    assert len(mine) >= 14
    assert np.abs(mine - theirs).max() <= 1.01e-4  # times, boxes as shares of the picture, labels, scores


@pytest.mark.slow
@pytest.mark.ci
def test_a_warm_service_needs_no_torch(warm, tmp_path):
    pytest.importorskip("ruamel.yaml")
    folder, _ = warm
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text("cameras: {sample: {source: sample}}\nserver: {port: 0}\n")
    done = run(folder, "stream.serve", str(cameras), "--seconds", "10", torch=False)
    assert done.returncode == 0, done.stderr
    assert "camera sample: online" in done.stderr + done.stdout
    assert "is asked for" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_cold_start_says_that_it_needs_torch(tmp_path):
    """The hook works: without a cache, torch is asked for."""
    done = run(tmp_path, "stream.webcam", "sample", "--seconds", "1", "--display", "none", "--jsonl",
               str(tmp_path / "a.jsonl"), torch=False)
    assert done.returncode != 0
    assert "torch is asked for" in done.stderr


def test_what_a_start_imports_holds_no_torch():
    code = (
        "import sys, stream.webcam, stream.serve, stream.live, stream.offline, engine_build.build, "
        "engine_build.run_openvino, detector.weights.model_file, detector.person.select, detector.person.faces; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
