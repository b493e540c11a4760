"""The command for a day with a GPU, rehearsed without one: what it says, what it needs, and that every step runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import UserError
from engine_build.gpu_day import command, training, wheels
from engine_build.gpu_day.actions import BATCHES, load_subject, plan_variants
from engine_build.gpu_day.child import Context, Settings
from engine_build.gpu_day.command import gpu_day
from engine_build.gpu_day.fragment import Fragment, read_json, write_json
from engine_build.gpu_day.gpu_tests import marked_files, read_report
from engine_build.gpu_day.plan import STEPS
from engine_build.gpu_day.training import DrawnTubes, TimedLoss, TimeUp
from engine_build.run_torch import MODES

ROOT = Path(__file__).resolve().parent.parent

# What a bare machine has: torch, torchvision, numpy, OpenCV, onnx, onnxruntime and pytest, with what they need.
BARE = (
    "torch", "torchvision", "torchgen", "functorch", "numpy", "cv2", "onnx", "onnxruntime", "pytest", "PIL", "filelock",
    "fsspec", "google", "iniconfig", "jinja2", "markupsafe", "ml_dtypes", "mpmath", "networkx", "nvidia", "packaging",
    "pluggy", "pygments", "setuptools", "sympy", "triton", "typing_extensions", "flatbuffers", "coloredlogs", "cuda",
    "detector", "engine_build", "stream", "tests", "conftest", "pkg_resources", "sitecustomize", "py",
)
# Put before all else on the path: Python imports it first, in children and their children too.
HOOK = """
import sys
BARE = {bare!r}
class OnlyWhatIsBare:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # The standard library names one module after the platform.
        if top.lstrip("_") in BARE or top in BARE or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)
        return None
sys.meta_path[:] = [OnlyWhatIsBare(finder) for finder in sys.meta_path]
"""


@pytest.fixture
def bare_machine(tmp_path):
    """A function that runs the command where only what is on a bare machine can be imported."""
    folder = tmp_path / "hook"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK.format(bare=BARE), encoding="utf-8")

    def run(*arguments: str, timeout_s: float = 280.0) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
                       "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "SLOWFAST_CACHE": str(tmp_path / "cache")}
        command_line = [sys.executable, "-m", "engine_build", "gpu_day", "--wheels", str(tmp_path / "none"), *arguments]
        return subprocess.run(command_line, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path,
                              timeout=timeout_s)

    return run


def rehearse(bare_machine, tmp_path, steps: str) -> dict:
    found = bare_machine("--device", "cpu", "--quick", "--json", str(tmp_path / "out.json"), "--steps", steps)
    assert found.returncode == 0, found.stdout + found.stderr
    return read_json(tmp_path / "out.json")


def test_without_a_gpu_one_line_says_what_each_step_would_need(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        gpu_day(["--json", str(tmp_path / "out.json")])
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith("gpu_day needs an NVIDIA GPU, and torch ")
    for step in STEPS:
        assert f"{step.name}: {' '.join(step.needs)}" in line
    assert not (tmp_path / "out.json").exists()


def test_the_makefiles_target_ends_with_2_and_that_line(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(["make", "--silent", "gpu", f"PYTHON={sys.executable}"], cwd=ROOT, env=environment,
                           capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 2
    own = [line for line in found.stderr.splitlines() if not line.startswith("make")]
    assert len(own) == 1
    assert own[0].startswith("error: gpu_day needs an NVIDIA GPU")
    assert found.stdout == ""


@pytest.mark.parametrize(("arguments", "message"), [
    (["--device", "cpu"], "--device cpu --quick"), (["--minutes", "0"], "--minutes: got 0"),
    (["--json", "nowhere/x.json"], "--json: got nowhere/x.json"), (["--steps", "nothing"], "--steps 'nothing'"),
    (["--shards", "nowhere"], "--shards: got nowhere"),
])
def test_a_wrong_option_gets_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        gpu_day(arguments)


def test_the_list_is_printed_without_a_gpu(capsys):
    assert gpu_day(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(step.name in printed for step in STEPS)


def test_the_machine_is_described_on_a_bare_machine(bare_machine, tmp_path):
    result = rehearse(bare_machine, tmp_path, "machine,decode,streams,tensorrt")
    assert result["rehearsal"] is True
    assert result["note"] == command.REHEARSAL
    machine = result["steps"]["machine"]
    assert machine["state"] == "done"
    assert machine["peak_tflops"]["bf16"] > 0
    for name, absent in (("decode", "needs av; run: pip install av"), ("streams", "av"), ("tensorrt", "pycuda")):
        assert result["steps"][name]["state"] == "left out"
        assert absent in result["steps"][name]["why"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tests", "r50", "r101nl", "bundled", "people", "training"])
def test_every_step_that_can_runs_on_a_bare_machine(bare_machine, tmp_path, name):
    step = rehearse(bare_machine, tmp_path, name)["steps"][name]
    assert step["state"] == "done"
    if name in ("r50", "r101nl", "bundled"):
        assert set(step["engines"]) == {variant.name for variant in plan_variants(quick=True)}
        for variant, engine in step["engines"].items():
            # A tiny random network may round by more than a real one is allowed to.
            assert engine["verify"]["feature_error"] < (1e-3 if variant.startswith("fp32") else 0.1)
        assert step["yardstick"]["fp32 batch 1"]["clips_per_s"] > 0
        assert step["kernels_of_best"]
    elif name == "people":
        assert all(part["feature_error"] < 0.1 for part in step["parts"].values())
    elif name == "training":
        assert step["cpu"]["updates_per_s"] > 0


@pytest.mark.slow
def test_the_steps_of_streams_run_where_their_packages_are(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "engine_build", "gpu_day", "--device", "cpu", "--quick", "--steps", "decode,streams",
         "--json", str(tmp_path / "out.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=280,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    steps = read_json(tmp_path / "out.json")["steps"]
    assert steps["decode"]["cpu_fps"] > 0
    assert set(steps["streams"]["cameras"]) == {"1", "2"}
    for number in ("1", "2"):  # how many answers came in seconds so few depends on the machine
        figures = steps["streams"]["cameras"][number]
        assert figures["cameras"] == int(number)
        assert figures["detector"].endswith("4 people placed by hand")
        assert figures["pictures_fps"] > 0


def test_every_precision_and_mode_is_planned_at_every_batch_of_interest():
    planned = {(v.precision, v.mode, batch) for v in plan_variants(quick=False) for batch in v.batches}
    for precision in ("fp32", "bf16", "fp16"):
        for mode in MODES:
            assert {(precision, mode, 1), (precision, mode, 8)} <= planned
    assert {("bf16", "graphs", batch) for batch in BATCHES} <= planned
    assert {("bf16", "compiled_graphs", batch) for batch in BATCHES} <= planned
    assert {("fp32", "plain", batch) for batch in BATCHES} <= planned


@pytest.mark.parametrize("name", ["slowfast_16x8_r101_nl", "bundled"])
def test_batches_are_of_clips_that_differ_and_rows_that_belong_to_them(name, one_thread):
    subject = load_subject(name, quick=True)
    frames, rows = subject.batch(5)
    assert frames.shape == (5, 4, *subject.size_hw, 3)
    assert len({clip.tobytes() for clip in frames}) == 5
    assert set(rows[:, 0]) == {0, 1, 2, 3, 4}
    assert (rows[:, 1:].max(1) <= 2 * max(subject.size_hw)).all()
    assert subject.gmacs > 0


@pytest.mark.parametrize(("earlier", "kept"), [
    ({"gpu": "", "rehearsal": True, "steps": {"r50": {"state": "done"}}}, {"r50"}),
    ({"gpu": "another", "rehearsal": False, "steps": {"r50": {"state": "done"}}}, set()),
    ({}, set()),
])
def test_only_results_of_the_same_machine_are_kept(tmp_path, earlier, kept):
    path = tmp_path / "out.json"
    write_json(path, earlier)
    options = command.create_parser().parse_args(
        ["--json", str(path), "--steps", "machine", "--device", "cpu", "--quick"])
    assert set(command._facts(options, "", [])["steps"]) == kept


def test_a_rehearsal_never_looks_like_a_gpus_figures(tmp_path):
    for arguments, rehearsal in ((["--device", "cpu", "--quick"], True), (["--quick"], True), ([], False)):
        facts = command._facts(command.create_parser().parse_args(arguments), "H", [])
        assert facts["rehearsal"] is rehearsal
        assert ("note" in facts) is rehearsal


def test_training_ends_when_its_time_is_over(monkeypatch):
    now = iter(np.arange(0.0, 100.0, 0.5))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(now)))
    loss, logits = TimedLoss(seconds=10.0), torch.zeros(1, 14)
    targets = torch.eye(14)[:1]
    for _ in range(20 + 1):  # 0, 0.5 ... 10.0
        loss(logits, targets)
    with pytest.raises(TimeUp):
        loss(logits, targets)
    assert loss.times_s[-1] == 10.5
    assert loss.updates_per_s() == pytest.approx(2.0)


def test_drawn_tubes_are_what_the_training_takes():
    frames, boxes, targets = DrawnTubes(10, 16, 80, 14)[7]
    assert (frames.shape, frames.dtype) == ((16, 80, 80, 3), np.uint8)
    assert boxes.shape == (1, 4)
    assert targets.shape == (1, 14)
    assert targets[0, :12].sum() == 1


def test_tests_that_need_a_gpu_are_found_by_their_mark(tmp_path):
    assert "test_engine_build_gpu.py" in [path.name for path in marked_files(ROOT / "tests", ("gpu",))]
    (tmp_path / "test_a.py").write_text("pytestmark = pytest.mark.gpu")
    (tmp_path / "test_b.py").write_text("x = 'gpus'")
    (tmp_path / "test_c.py").write_text("@pytest.mark.tensorrt")
    assert [path.name for path in marked_files(tmp_path, ("gpu",))] == ["test_a.py"]
    assert [path.name for path in marked_files(tmp_path, ("gpu", "tensorrt"))] == ["test_a.py", "test_c.py"]


def test_pytests_report_is_counted(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure message="no&#10;more"/></testcase>'
        '<testcase name="c"><skipped/></testcase><testcase name="d"><error message="e"/></testcase></testsuite>'
        "</testsuites>"
    )
    counts, failures = read_report(path)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert failures == ["b: ['no']", "d: ['e']"]
    assert read_report(tmp_path / "none.xml") == ({}, [])


@pytest.mark.parametrize(("python", "abi", "version", "expected"), [
    ("py3", "none", (3, 12), True), ("py2.py3", "none", (3, 11), True), ("cp312", "cp312", (3, 12), True),
    ("cp312", "cp312", (3, 11), False), ("cp39", "abi3", (3, 12), True), ("cp312", "abi3", (3, 11), False),
    ("cp312", "abi3", (3, 13), True), ("py2", "none", (3, 12), False),
])
def test_wheels_of_another_python_are_left_alone(python, abi, version, expected):
    assert wheels.fits(python, abi, version) is expected


def test_only_what_is_missing_is_unpacked(tmp_path):
    folder, site = tmp_path / "wheels", tmp_path / "site"
    folder.mkdir()
    for name in ("tqdm-4.0-py3-none-any", "platformdirs-4.0-py3-none-any", "av-1-cp27-cp27m-manylinux1_x86_64",
                 "charset_normalizer-3.0-py3-none-any", "stranger-1.0-py3-none-any"):
        with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    unpacked = wheels.unpack(folder, site, there=lambda package: package == "platformdirs")
    assert sorted(unpacked) == ["charset_normalizer", "tqdm"]
    assert sorted(path.name for path in site.iterdir()) == ["charset_normalizer", "tqdm"]
    assert wheels.unpack(tmp_path / "none", site) == []


def test_a_step_knows_its_time_and_keeps_its_figures(tmp_path):
    context = Context(Settings("cpu", True), Fragment(tmp_path / "x.json"), 100.0)
    assert 99 < context.left_s() <= 100
    context.put("a", 1)
    assert context.figures == {"a": 1}
