"""How signals end the program: in order, in time, without a traceback, in real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stream.ending import Ending

ROOT = Path(__file__).resolve().parent.parent
# A shell in the background ignores Ctrl-C and hang-ups for its children.
LISTENING = """
    import signal, sys, time
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
"""


@pytest.fixture
def ending():
    """An ending of this process that notes what it would have left with."""
    codes: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    made = Ending(leave=codes.append)
    made.codes = codes
    made.install()
    yield made
    made.uninstall()
    for number, handler in before.items():
        signal.signal(number, handler)


def start(program: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LISTENING) + textwrap.dedent(program), *words], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_interrupts_and_later_ones_do_not(ending, number, code):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    for later in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(later)
    assert (ending.number, ending.exit_code) == (number, code)


def test_what_is_held_is_finished_first(ending):
    done = []

    def hold() -> None:
        with ending.held():
            with ending.held():
                signal.raise_signal(signal.SIGTERM)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert done == ["all of it"]


def test_at_the_end_of_all_nothing_is_interrupted(ending):
    ending.finished()
    signal.raise_signal(signal.SIGINT)
    assert ending.number == signal.SIGINT


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ending = Ending(leave=lambda code: None)
    ending.install()
    try:
        signal.raise_signal(signal.SIGHUP)
        assert ending.number == 0
    finally:
        ending.uninstall()
        signal.signal(signal.SIGHUP, before)


def test_a_program_that_does_not_end_is_ended(ending, monkeypatch):
    """The main thread does not get to run Python: nothing was raised, and the process goes all the same."""
    monkeypatch.setattr("stream.ending.KILL_GRACE_S", 0.01)
    left = threading.Event()
    ending._leave = lambda code: (ending.codes.append(code), left.set())
    with ending.held():
        signal.raise_signal(signal.SIGTERM)
        assert left.wait(10)
        ending._raised = True
    assert ending.codes == [143]


def test_one_ctrl_c_waits_and_two_do_not(ending, monkeypatch):
    monkeypatch.setattr("stream.ending.IMPATIENT_GRACE_S", 0.0)
    left = threading.Event()
    ending._leave = lambda code: (ending.codes.append(code), left.set())
    with ending.held():
        signal.raise_signal(signal.SIGINT)
        assert not left.wait(0.2)
        signal.raise_signal(signal.SIGINT)
        assert left.wait(10)
        ending._raised = True
    assert set(ending.codes) == {130}


WATCH = """
    sys.path.insert(0, "tests")
    import detector.tracking
    from stream import webcam
    from stream_fakes import FakeTracker, fake_session
    detector.tracking.Tracker = FakeTracker
    webcam._display = lambda: False
    webcam.open_session = lambda *a, **k: fake_session()[0]
    sys.exit(webcam.command())
"""


def ended(process: subprocess.Popen, *numbers: int) -> tuple[int, str, float]:
    """Exit code, what was said, seconds it took."""
    began_s = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        if len(numbers) > 1:
            time.sleep(0.05)
    _, said = process.communicate(timeout=60)
    return process.returncode, said, time.monotonic() - began_s


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_camera_that_never_answers_keeps_nobody(tmp_path, number, code):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        process = start(WATCH, f"rtsp://127.0.0.1:{silent.getsockname()[1]}/door", "--jsonl", "-")
        silent.settimeout(60)
        silent.accept()
        returned, said, took_s = ended(process, number)
    assert (returned, "Traceback" in said) == (code, False)
    assert took_s < 7  # FFmpeg would wait for eight more seconds


@pytest.mark.parametrize("presses", [2, 3])
def test_ctrl_c_again_and_again_leaves_no_traceback(tmp_path, write_video, presses):
    out = tmp_path / "o.mp4"
    process = start(WATCH, str(write_video(frames=30)), "--live", "--loop", "--output", str(out), "--jsonl", "-")
    process.stdout.readline()
    returned, said, _ = ended(process, *[signal.SIGINT] * presses)
    assert returned == 130
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert out.stat().st_size > 0
