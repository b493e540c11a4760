"""What the wall costs and how quick it is: `python -m demo.wall.measure`.

The service runs with so many cameras that all show the bundled clip, scaled to 640x360 at 10 pictures a second, and is
asked to look at them seldom: what it uses without a page is decoding, what it uses more with one is the wall. A
headless Chromium shows the wall at 1280x800.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.measure import Server, launch
from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from stream.service.bench import write_media

SELDOM_S, SETTLE_S = 600, 15.0
SIZE = {"width": 1280, "height": 800}


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    cli = CommandLine("python -m demo.wall.measure", description="Cost and rates of the page of all cameras.")
    cli.add_argument("--cameras", type=int, nargs="+", default=[1, 4, 16], metavar="N", help="how many (1 4 16)")
    cli.add_argument("--seconds", type=float, default=15, metavar="N", help="to measure, with and without page (15)")
    cli.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = cli.parse_args(argv)
    if min(args.cameras) < 1 or args.seconds <= 0:
        raise UserError("--cameras and --seconds: expected numbers above 0")
    rows = []
    for count in args.cameras:
        rows.append(measure(count, args.seconds))
        print(describe(rows[-1]), flush=True)
    if args.json:
        report = {"cores": os.cpu_count(), "rows": rows}
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def describe(row: dict[str, Any]) -> str:
    """A row as one line."""
    return (
        f"{row['cameras']} camera(s): first paint {row['first_paint_s']} s, first picture {row['first_picture_s']} s, "
        f"{row['pictures_per_s']} pictures/s to the page, {row['kb_per_s']} kB/s; wall {row['wall_cores']} cores "
        f"beyond {row['base_cores']} for decoding; large: {row['large_pictures_per_s']} pictures/s"
    )


def measure(count: int, seconds: float) -> dict[str, Any]:
    """Figures for so many cameras."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_media(folder, None)
        rows = "".join(f"  c{i:02}: {{source: {folder / 'busy.mp4'}}}\n" for i in range(count))
        file = folder / "cameras.yaml"
        file.write_text(
            f"defaults: {{model: bundled, every: {SELDOM_S}, motion: {{gate: false}}}}\nserver: {{enabled: false}}\n"
            f"cameras:\n{rows}", encoding="utf-8",
        )
        with Server(["--cameras", str(file)]) as server, sync_playwright() as playwright:
            browser = launch(playwright)
            try:
                return {"cameras": count, **_watch(server, browser, seconds)}
            finally:
                browser.close()


def _watch(server: Server, browser: Any, seconds: float) -> dict[str, Any]:
    page = browser.new_page(viewport=SIZE)
    # Models are read and engines built first.
    page.goto(server.url)
    page.wait_for_function("() => window.line && window.line.state.some((c) => c.mood === 'good') && "
                           "window.line.state.every((c) => c.state === 'online')", timeout=300_000)
    page.close()
    time.sleep(SETTLE_S)
    base = _cores(server, seconds)
    page = browser.new_page(viewport=SIZE)
    sent = [0]
    page.on("websocket", lambda socket: socket.on(
        "framereceived", lambda data: sent.__setitem__(0, sent[0] + len(data))
    ))
    start_s = time.monotonic()
    page.goto(server.url)
    page.wait_for_function("() => window.line.pictures > 0", timeout=60_000)
    first_s = time.monotonic() - start_s
    paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.wait_for_timeout(3000)
    before, sent_before, begin_s = page.evaluate("window.line.pictures"), sent[0], time.monotonic()
    cpu_s = server.cpu_s()
    page.wait_for_timeout(seconds * 1000)
    span_s = time.monotonic() - begin_s
    pictures = page.evaluate("window.line.pictures") - before
    cores = (server.cpu_s() - cpu_s) / span_s
    kb = (sent[0] - sent_before) / span_s / 1000
    page.evaluate("location.hash = '#camera/c00'")
    page.wait_for_timeout(1500)
    before, begin_s = page.evaluate("window.line.pictures"), time.monotonic()
    page.wait_for_timeout(5000)
    large = (page.evaluate("window.line.pictures") - before) / (time.monotonic() - begin_s)
    return {
        "first_paint_s": round(paint_ms / 1000, 2), "first_picture_s": round(first_s, 2),
        "pictures_per_s": round(pictures / span_s, 1), "kb_per_s": round(kb), "base_cores": round(base, 2),
        "wall_cores": round(cores - base, 2), "large_pictures_per_s": round(large, 1),
        "server_mb": round(server.resident_mb()),
    }


def _cores(server: Server, seconds: float) -> float:
    cpu_s, start_s = server.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu_s() - cpu_s) / (time.monotonic() - start_s)


if __name__ == "__main__":
    sys.exit(run_command(main))
