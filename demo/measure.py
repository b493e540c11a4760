"""How late and how smooth the live picture is, seen from inside a browser: `python -m demo.measure`.

A headless Chromium is given a fake camera, a video whose frames carry their number as a row of bright and dark
blocks. The page's own script runs; beside it a probe reads the number from the camera and from each picture that
comes back. The delay is the time between both: from the camera's frame to the annotated frame in the page.

Server and browser share this machine's cores, so figures on a small machine are on the safe side.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from stream.sources import open_source

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
# Nothing but the page may use the network, and the camera is allowed without asking.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-quic",
)
COUNTER_BITS, CHECK_BITS = 9, 4
CAMERA_FPS = 30
PROBE = """async ([bits, checks]) => {
  const read = (source, w, h) => {
    const sheet = read.sheet || (read.sheet = new OffscreenCanvas(1, 1));
    const blocks = bits + checks;
    sheet.width = blocks; sheet.height = 1;
    const pen = sheet.getContext("2d", {willReadFrequently: true});
    pen.imageSmoothingEnabled = false;
    for (let i = 0; i < blocks; i++)
      pen.drawImage(source, w * (i + 0.5) / blocks, h * 0.985, 1, 1, i, 0, 1, 1);
    const data = pen.getImageData(0, 0, blocks, 1).data;
    let number = 0, ones = 0, check = 0;
    for (let i = 0; i < bits; i++) if (data[4 * i + 1] > 128) { number |= 1 << i; ones++; }
    for (let i = 0; i < checks; i++) if (data[4 * (bits + i) + 1] > 128) check |= 1 << i;
    return check === ones ? number : -1;
  };
  const state = window.probe = {sent: {}, delays: [], shown: 0, last: -1, start: performance.now()};
  const stream = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}});
  const eye = document.createElement("video");
  eye.muted = true; eye.srcObject = stream; await eye.play();
  const look = () => {
    const number = read(eye, eye.videoWidth, eye.videoHeight);
    if (number >= 0) state.sent[number] = performance.now();
    eye.requestVideoFrameCallback(look);
  };
  eye.requestVideoFrameCallback(look);
  window.demo.mirror = false;
  window.demo.onPicture = (canvas) => {
    const number = read(canvas, canvas.width, canvas.height);
    if (number === state.last) return;
    state.shown++;
    state.last = number;
    if (number >= 0 && state.sent[number]) state.delays.push(performance.now() - state.sent[number]);
  };
}"""
RESET = "() => Object.assign(window.probe, {delays: [], shown: 0, start: performance.now()})"
READ = "() => [window.probe.delays, window.probe.shown, (performance.now() - window.probe.start) / 1000]"


def parser() -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        "python -m demo.measure", description="Delay and rate of the demo's live picture in a headless Chromium.",
        epilog="Everything after -- goes to python -m demo: python -m demo.measure -- --untrained",
    )
    source = cli.add_argument(
        "--source", default="sample", metavar="FILE", help="what the fake camera shows (the bundled clip)"
    )
    cli.accept_former(source, "--video")
    cli.add_argument("--seconds", type=float, default=20, metavar="N", help="to measure, for each count (20)")
    cli.add_argument("--warm-up", type=float, default=10, metavar="N", help="seconds before that (10)")
    cli.add_argument("--visitors", type=int, nargs="+", default=[1, 2], metavar="N", help="visitors at once (1 2)")
    cli.add_argument("--json", metavar="FILE", help="write the figures there too")
    cli.add_argument("server", nargs="*", help=argparse.SUPPRESS)
    return cli


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    if min(args.visitors) < 1 or args.seconds <= 0:
        raise UserError("--visitors and --seconds: expected numbers above 0")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.y4m", args.source)
        for visitors in args.visitors:
            with Server([*args.server, "--visitors", str(visitors)]) as server:
                row = measure(server, camera, visitors, args.warm_up, args.seconds)
            rows.append(row)
            print(describe(row), flush=True)
    if args.json:
        report = {"cores": os.cpu_count(), "server": args.server, "rows": rows}
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def describe(row: dict[str, Any]) -> str:
    """A row as one line."""
    return (
        f"{row['visitors']} visitor(s): {row['pictures_per_s']} pictures/s, picture {row['delay_ms_median']} ms late "
        f"(95 %: {row['delay_ms_95']}), labels {row['label_delay_s']} s late, {row['answers_per_s']} answers/s; "
        f"server {row['server_cores']} cores, {row['server_mb']} MB; {row['engine']}"
    )


def stamp(image: np.ndarray, number: int) -> None:
    """Draw a frame's number, and how many ones it has, as blocks along the lower border; in place."""
    h, w = image.shape[:2]
    number %= 1 << COUNTER_BITS
    code = number | number.bit_count() << COUNTER_BITS
    blocks = COUNTER_BITS + CHECK_BITS
    for i in range(blocks):
        image[h - h // 24:, i * w // blocks:(i + 1) * w // blocks] = 235 if code >> i & 1 else 20


def write_camera(path: Path, video: str, seconds: float = 16.0, size_hw: tuple[int, int] = (480, 640)) -> Path:
    """What the fake camera shows: frames of a video, cut to shape and stamped with their numbers.

    Raises:
        UserError: the video cannot be opened.
    """
    h, w = size_hw
    source = open_source(video, loop=True)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{w} H{h} F{CAMERA_FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number, frame in enumerate(source):
            if number >= seconds * CAMERA_FPS:
                break
            scale = max(h / frame.size_hw[0], w / frame.size_hw[1])
            image = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
            image = np.ascontiguousarray(image[top:top + h, left:left + w])
            stamp(image, number)
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
    source.close()
    return path


class Server:
    """`python -m demo` in a process of its own."""

    def __init__(
        self, arguments: Sequence[str], command: Sequence[str] = ("-m", "demo"), port: int = 0, timeout_s: float = 180,
    ) -> None:
        """
        Args:
            arguments: of the command.
            command: what Python runs.
            port: to listen at; 0 for a free one.
            timeout_s: to wait for its link.

        Raises:
            UserError: it ended, or gave no link; with what it said.
        """
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the server)
        self.process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port), *arguments], stderr=self._log, stdout=self._log,
        )
        give_up_s = time.monotonic() + timeout_s
        while not (found := re.search(r"^open (\S+)", self.said(), re.MULTILINE)):
            if self.process.poll() is not None or time.monotonic() > give_up_s:
                said = self.said().strip()
                self.close()
                raise UserError(f"the server did not start: {said}")
            time.sleep(0.1)
        self.url = found.group(1)

    def said(self) -> str:
        """All that it printed so far."""
        with open(f"/dev/fd/{self._log.fileno()}", encoding="utf-8") as log:
            return log.read()

    def wait_for(self, line: str, timeout_s: float) -> None:
        """Wait until it has printed a line.

        Raises:
            UserError: it did not in time.
        """
        give_up_s = time.monotonic() + timeout_s
        while line not in self.said().splitlines():
            if self.process.poll() is not None or time.monotonic() > give_up_s:
                raise UserError(f"the server did not say {line!r}: {self.said().strip()}")
            time.sleep(0.1)

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Physical memory that it holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def launch(playwright: Any, camera: Path | None = None) -> Any:
    """A headless Chromium with that fake camera.

    Raises:
        UserError: there is none.
    """
    path = next((p for p in CHROMIUM if os.path.exists(p)), None)
    if path is None and not os.path.exists(playwright.chromium.executable_path):
        raise UserError("no Chromium here; run: apt-get install chromium, or python -m playwright install chromium")
    flags = [*FLAGS] + ([f"--use-file-for-fake-video-capture={camera}"] if camera else [])
    return playwright.chromium.launch(executable_path=path, args=flags)


def measure(server: Server, camera: Path, visitors: int, warm_up_s: float, seconds: float) -> dict[str, Any]:
    """Let that many pages watch at once and read their probes."""
    from playwright.sync_api import sync_playwright

    server.wait_for("ready", 300)
    with sync_playwright() as playwright:
        # A browser each: pages of one browser share a process for video.
        browsers = [launch(playwright, camera) for _ in range(visitors)]
        pages = [browser.new_page() for browser in browsers]
        for page in pages:
            page.goto(server.url)
            page.wait_for_selector("#live-start")
            page.evaluate(PROBE, [COUNTER_BITS, CHECK_BITS])
            page.click("#live-start")
        for page in pages:
            page.wait_for_function("window.demo.pictures > 0", timeout=120_000)
        pages[0].wait_for_timeout(warm_up_s * 1000)
        for page in pages:
            page.evaluate(RESET)
        cpu_s, start_s = server.cpu_s(), time.monotonic()
        pages[0].wait_for_timeout(seconds * 1000)
        cores = (server.cpu_s() - cpu_s) / (time.monotonic() - start_s)
        read = [page.evaluate(READ) for page in pages]
        statuses = [page.evaluate("window.demo.status") for page in pages]
        row = _row(read, statuses)
        row |= {"visitors": visitors, "server_cores": round(cores, 2), "server_mb": round(server.resident_mb())}
        for browser in browsers:
            browser.close()
    return row


def _row(read: list[Any], statuses: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the visitor who is worst off in rate, delays of all."""
    delays = np.concatenate([np.asarray(d, float) for d, _, _ in read])
    if not len(delays):
        raise UserError("no frame number could be read in the returned pictures; is the page showing them?")
    return {
        "pictures_per_s": round(min(shown / span for _, shown, span in read), 1),
        "delay_ms_median": round(float(np.median(delays))), "delay_ms_95": round(float(np.quantile(delays, 0.95))),
        "label_delay_s": round(max(s["look_ahead_s"] + s["compute_s"] for s in statuses), 2),
        "answers_per_s": round(min(s["clips_per_s"] for s in statuses), 2),
        "engine": f"{statuses[0]['model']}, {statuses[0]['engine']}, {statuses[0]['detector']}",
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
