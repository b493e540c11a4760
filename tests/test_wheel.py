"""What is installed without the checkout: complete, and it streams the sample."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from detector import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("detector", "engine_build", "stream", "demo")
# Figures of machines, read beside the README; no program opens them.
NOT_SHIPPED = ("engine_build/benchmarks/*",)


def tracked() -> set[str]:
    """Files of the four packages as git has them."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES], cwd=ROOT, check=True,
        capture_output=True, text=True,
    ).stdout.splitlines()
    return {name for name in listed if (ROOT / name).exists() and not any(fnmatch(name, p) for p in NOT_SHIPPED)}


def test_every_data_file_is_listed_as_package_data():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, patterns in setup["options.package_data"].items() for pattern in patterns.split()
    ]
    data = {name for name in tracked() if not name.endswith(".py")}
    assert {"detector/py.typed", "stream/samples/sample.mp4", "demo/assets/demo.js"} <= data
    assert sorted(name for name in data if not any(fnmatch(name, pattern) for pattern in listed)) == []


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Run a command away from the checkout; gives what it printed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=kept | variables, capture_output=True, text=True, timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `python -m build` makes of the files that git knows."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*tracked(), "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        target = folder / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "checkout", cwd=folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_what_git_holds_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked()
    assert wheel.name == f"slowfast_live-{__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_installed_in_an_empty_environment_it_streams_the_sample(wheel, tmp_path):
    pytest.importorskip("openvino")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # Packages that it needs are this environment's. A path file inside a path file is not read, so the editable
    # install that may be among them is not seen.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    program = f"import importlib; print(*(importlib.import_module(p).__file__ for p in {PACKAGES}))"
    assert all(name.startswith(str(site)) for name in run(python, "-c", program, cwd=tmp_path).split())
    command = tmp_path / "venv/bin/slowfast-live"
    assert run(command, "--version", cwd=tmp_path) == f"slowfast-live {__version__}\n"
    run(command, "sample", "--seconds", "2", "--display", "none", "--jsonl", "out.jsonl", "--output", "out.mp4",
        cwd=tmp_path, SLOWFAST_CACHE=str(tmp_path / "cache"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [round(line["time_s"]) for line in lines][:2] == [0, 1]
    assert any(person["actions"] for line in lines for person in line["people"])
    assert (tmp_path / "out.mp4").stat().st_size > 10_000
