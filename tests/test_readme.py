"""README's commands: each one is known here, its options exist, and (slow, `make readme`) it really runs."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "stream" / "samples" / "sample.mp4"
ROW = "clip.mp4,2.0,,,,,walk\nclip.mp4,3.0,,,,,walk\nclip.mp4,5.0,,,,,wave\nclip.mp4,7.0,,,,,wave\n"

# How a command is made short enough to run, by its beginning; the longest that fits counts.
SHORTER = {
    "slowfast-live": ["--seconds", "1", "--display", "none"],
    "slowfast-live rtsp://": ["--seconds", "4", "--display", "none"],
    "slowfast-live @": ["--seconds", "4"],
    "slowfast-live party.mp4 --live": ["--seconds", "1"],
    "slowfast-live fill-boxes": [],
    "slowfast-live train --recipe finetune": ["--set", "steps=2"],
    "slowfast-live weights list": [],
    "slowfast-live networks": [],
    "slowfast-live serve --example": [],
    "slowfast-live events example": [],
    "slowfast-live events replay": [],
    "slowfast-live archive": ["--every", "2"],
}
# What is not run here, and why. The options of all of them are checked.
NOT_RUN = {
    "slowfast-live train …": "its test runs it on made data",
    "git clone": "is how a person got here",
    "make run": "CI sets up with it",
    "make test": "is running",
    "make demo": "the browser tests start the page",
    "slowfast-live 1": "no second camera here: its mistake is tested",
    "slowfast-live weights fetch": "needs the internet; downloads are tested against a server of their own",
    "slowfast-live party.mp4 --model slowfast_8x8_r50": "needs fetched weights; engine tests build this network",
    "slowfast-live party.mp4 --weights runs/mine": "the finetune test streams with its own model",
    "slowfast-live build": "takes minutes; the engine tests build it",
    "slowfast-live demo --host": "the browser tests start the page with a certificate",
    "pip install": "the set-up of tests has both",
    "slowfast-live serve cameras.yaml": "the example's cameras are not here; the service's tests run it",
    "slowfast-live events list": "its test runs it on made events",
    "slowfast-live events measure": "needs labelled video",
    "slowfast-live evaluate": "their tests run them on made data",
    "slowfast-live train --recipe kinetics": "its test runs it on made data",
}


def commands() -> list[str]:
    """The lines of README's shell blocks, without their comments, and the commands in its text that take options."""
    blocks = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S) if not kind]
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = [" ".join(text.split()) for text in re.findall(r"`(slowfast-live [^`]+--[^`]+)`", README)]
    return [part for line in lines + inline for part in re.split(r" && ", line) if part and not part.startswith("cd ")]


def rule(table: dict, command: str) -> str | None:
    """The longest key of the table that the command begins with."""
    return max((key for key in table if command.startswith(key)), key=len, default=None)


def test_readme_has_commands_and_all_of_them_are_known():
    assert len(commands()) > 15
    unknown = [c for c in commands() if rule(SHORTER | NOT_RUN, c) is None]
    assert not unknown, f"say in SHORTER or NOT_RUN how these are run: {unknown}"


@pytest.mark.parametrize("command", sorted({c for c in commands() if c.startswith("slowfast-live")}))
def test_each_option_that_readme_shows_exists(command):
    words = shlex.split(command)[1:]
    inner = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word) or word in ("list", "fetch") or len(inner) == 2:
            break
        inner.append(word)
    shown = subprocess.run(
        [sys.executable, "-m", "stream.command", *(inner or ["watch"]), "--help"], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "COLUMNS": "120"},
    )
    assert shown.returncode == 0, shown.stderr
    missing = [w for w in words if w.startswith("--") and not re.search(rf"{re.escape(w)}\b", shown.stdout)]
    assert not missing, f"{command}: help shows no {missing}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_each_make_target_exists(target):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.M)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_each_link_leads_somewhere(link):
    assert (ROOT / link).exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with what the commands name: a film, labels, an address."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE, made / "party.mp4")
    shutil.copy(SAMPLE, made / "clip.mp4")
    (made / "my.csv").write_text(ROW)
    (made / "recordings").mkdir()
    shutil.copy(SAMPLE, made / "recordings" / "one.mp4")
    return made


class Camera(http.server.BaseHTTPRequestHandler):
    """An MJPEG camera that shows one picture ten times a second for as long as somebody looks."""

    picture = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.picture)}\r\n\r\n"
                self.wfile.write(head.encode() + self.picture + b"\r\n")
                time.sleep(0.1)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def camera(folder):
    """The address of a network camera."""
    _, image = cv2.VideoCapture(str(SAMPLE)).read()
    Camera.picture = cv2.imencode(".jpg", image)[1].tobytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/door"
    (folder / "door_address.txt").write_text(url + "\n")
    yield url
    server.shutdown()


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stream.command", *words]
    data = {"SLOWFAST_DATA": str(folder / "data"), "DISPLAY": ""}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **data}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("command", [c for c in commands() if (k := rule(SHORTER | NOT_RUN, c)) and k in SHORTER])
def test_the_command_runs(command, folder, camera):
    words = shlex.split(command)[1:]
    words = [camera if word.startswith("rtsp://") else word for word in words]
    words, into = (words[:-2], words[-1]) if ">" in words else (words, None)
    done = run(words + [w for w in SHORTER[rule(SHORTER, command)] if w not in words], folder)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    if into is not None:
        (folder / into).write_text(done.stdout)
    for kind in ("--output", "--jsonl", "--ava-csv"):
        if kind in words:
            assert (folder / words[words.index(kind) + 1]).exists(), f"{command} wrote no {kind}"


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(600)
def test_the_python_of_readme_runs(folder):
    (block,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False, timeout=580,
    )
    assert done.returncode == 0, done.stderr
    assert "walk" in done.stdout
    assert (folder / "labelled.mp4").stat().st_size > 10_000
