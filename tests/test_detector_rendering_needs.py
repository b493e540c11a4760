"""Without the packages of the `render` extra: what draws says what to install, what only reads shards works."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = (
    "import runpy, sys\n"
    "for name in ('numba', 'pybullet_data', 'scipy'): sys.modules[name] = None\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module(sys.argv[0], run_name='__main__')\n"
)


def run(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RUN, *map(str, argv)], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", [("detector.rendering.shards", "here", "--shards", "0:1"),
                                     ("detector.rendering.video", "here.mp4", "--seconds", "1")])
def test_rendering_names_the_install_line(command, tmp_path):
    done = run(command[0], tmp_path / command[1], *command[2:])
    assert done.returncode == 2
    assert done.stderr.startswith("error: rendering needs numba")
    assert "pip install 'slowfast-live[render]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.ci
def test_training_on_shards_gets_as_far_as_looking_for_them(tmp_path):
    done = run("detector.bundled.train", tmp_path, tmp_path / "run")
    assert done.returncode == 2
    assert "no train-*.npz" in done.stderr
