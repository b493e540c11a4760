"""Steps in processes of their own: what one found is kept whatever becomes of it, and of the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from detector.errors import UserError
from engine_build.gpu_day.fragment import Fragment, read_json, write_json
from engine_build.gpu_day.plan import STEPS, Step, choose_steps, describe, missing, why_left_out
from engine_build.gpu_day.runner import Day, run_steps

PROGRAMS = {
    "good": "put('a', 1); put('deep', 'b', 2)",
    "fails": "put('a', 1); print('what went wrong'); sys.exit(3)",
    "crashes": "put('a', 1); os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "put('a', 1); time.sleep(600)",
    "hangs and does not listen": "signal.signal(signal.SIGTERM, signal.SIG_IGN); put('a', 1); time.sleep(600)",
    "leaves a child": "put('a', subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)",
}
HEAD = (
    "import json, os, pathlib, signal, subprocess, sys, time\n"
    "sys.path.insert(0, {root!r})\n"
    "from engine_build.gpu_day.fragment import Fragment\n"
    "put = Fragment(pathlib.Path({path!r})).put\n"
)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command_of(step, path, seconds):
    return [sys.executable, "-c", HEAD.format(root=ROOT, path=str(path)) + PROGRAMS[step.function]]


def step(name: str, program: str, limit_s: float = 60.0, **more) -> Step:
    return Step(name, "", program, limit_s, needs=(), **more)


def day(tmp_path, **more) -> Day:
    return Day(tmp_path / "out.json", **{"total_s": 120.0, "facts": {"gpu": "none"}, "command_of": command_of,
                                         "report": lambda line: None, **more})


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(("program", "state", "why"), [
    ("good", "done", None),
    ("fails", "failed", "what went wrong"),
    ("crashes", "failed", "ended by signal SIGSEGV"),
    ("hangs", "timed out", "stopped at its limit of 4 s"),
    ("hangs and does not listen", "timed out", "stopped at its limit of 4 s"),
])
def test_what_a_step_found_is_kept_and_the_next_one_runs(tmp_path, monkeypatch, program, state, why):
    monkeypatch.setattr("engine_build.gpu_day.runner.GRACE_S", 0.5)
    run_steps(day(tmp_path), [step("first", program, 4.0), step("second", "good")])
    written = read_json(tmp_path / "out.json")
    first, second = written["steps"]["first"], written["steps"]["second"]
    assert (first["state"], first.get("why"), first["a"]) == (state, why, 1)
    assert (second["state"], second["deep"]) == ("done", {"b": 2})
    assert written["gpu"] == "none"
    assert ("output" in first) == (state != "done")


def test_the_file_holds_a_running_steps_figures(tmp_path, monkeypatch):
    monkeypatch.setattr("engine_build.gpu_day.runner.MERGE_EVERY_S", 0.05)
    seen = []

    def look(number, frame):
        seen.append(read_json(tmp_path / "out.json")["steps"]["first"])
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, look)

    def wait_for_figures():
        while read_json(tmp_path / "out.json").get("steps", {}).get("first", {}).get("a") != 1:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=wait_for_figures, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_steps(day(tmp_path), [step("first", "hangs"), step("second", "good")])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen[0]["state"] == "running"
    steps = read_json(tmp_path / "out.json")["steps"]
    assert (steps["first"]["state"], steps["first"]["a"]) == ("stopped", 1)
    assert "second" not in steps


def test_what_a_step_started_ends_with_it(tmp_path):
    run_steps(day(tmp_path), [step("first", "leaves a child")])
    pid = read_json(tmp_path / "out.json")["steps"]["first"]["a"]
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    assert not state or state.startswith("Z")


def test_a_step_whose_packages_are_missing_is_left_out_with_the_line_that_gets_them(tmp_path):
    needy = Step("needy", "", "good", 60.0, needs=("cv2", "nowhere"))
    run_steps(day(tmp_path, there=lambda package: package != "nowhere"), [needy, step("second", "good")])
    steps = read_json(tmp_path / "out.json")["steps"]
    assert steps["needy"] == {"state": "left out", "why": "needs nowhere; run: pip install nowhere"}
    assert steps["second"]["state"] == "done"


def test_earlier_steps_leave_time_for_later_ones(tmp_path):
    given = []

    def note(step, path, seconds):
        given.append(round(seconds))
        return command_of(step, path, seconds)

    steps = [step("first", "good", 600.0), step("second", "good", 600.0, reserve_s=30.0),
             Step("absent", "", "good", 600.0, 500.0, needs=("nowhere",))]
    run_steps(day(tmp_path, total_s=100.0, command_of=note, clock=lambda: 0.0), steps)
    assert given == [70, 100]


def test_when_the_time_is_used_up_the_rest_is_left_out(tmp_path):
    run_steps(day(tmp_path, total_s=1.0), [step("first", "good")])
    first = read_json(tmp_path / "out.json")["steps"]["first"]
    assert first["state"] == "left out"
    assert "--steps first" in first["why"]


def test_results_of_other_steps_stay(tmp_path):
    facts = {"steps": {"earlier": {"state": "done", "x": 3}}}
    run_steps(day(tmp_path, facts=facts), [step("first", "good")])
    assert read_json(tmp_path / "out.json")["steps"].keys() == {"earlier", "first"}


def test_a_file_is_whole_though_writing_the_next_one_fails(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert read_json(tmp_path / "none.json") == {}
    path.write_text("[1]")
    assert read_json(path) == {}


def test_figures_are_put_in_their_places(tmp_path):
    fragment = Fragment(tmp_path / "x.json")
    fragment.put("a", "b", 1)
    fragment.put("a", "c", 2)
    assert read_json(tmp_path / "x.json") == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(("names", "expected"), [
    (None, [s.name for s in STEPS]), ("r50,machine", ["machine", "r50"]), (" people ", ["people"]),
])
def test_steps_are_chosen_by_name_and_keep_their_order(names, expected):
    assert [s.name for s in choose_steps(names)] == expected


@pytest.mark.parametrize(("names", "message"), [("r51", "perhaps r50"), ("", "got none"), (",", "got none")])
def test_a_wrong_name_gets_one_line(names, message):
    with pytest.raises(UserError, match=message) as error:
        choose_steps(names)
    assert "\n" not in str(error.value)


def test_the_list_says_what_each_step_needs_and_lacks():
    text = describe(STEPS, there=lambda package: package not in ("av", "pytorchvideo"))
    for each in STEPS:
        assert each.name in text
    assert "av (missing)" in text
    assert "lacks pytorchvideo" in text
    assert missing(STEPS[0], lambda package: False) == ["torch"]
    assert why_left_out(Step("x", "", "", 1, needs=("cv2",)), lambda package: False).endswith(
        "pip install opencv-python-headless")


def test_all_steps_fit_into_the_usual_time():
    """With TensorRT absent, as where nobody installed it, what is reserved for the steps fits into 25 minutes."""
    usual = [s for s in STEPS if not s.name.startswith("tensorrt")]
    assert sum(s.reserve_s for s in usual) < 25 * 60
    assert all(s.reserve_s <= s.limit_s for s in STEPS)
