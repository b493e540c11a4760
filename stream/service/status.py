"""The state of a running service as a live table. The one door to rich."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from detector.errors import UserError

COLOURS = {"online": "green", "starting": "yellow", "paused": "blue", "off": "dim", "offline": "red", "failed": "red"}
REFRESH_S = 1.0


def fetch(url: str, token: str | None, timeout_s: float = 5.0) -> dict[str, Any]:
    """What a running service says of itself.

    Raises:
        UserError: it does not answer, or not to this token.
    """
    request = urllib.request.Request(f"{url}/api/cameras")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        what = "the token of the file is not its own" if error.code == 401 else f"HTTP {error.code}"
        raise UserError(f"{url}: {what}; is it the service of this file?") from None
    except (OSError, ValueError):
        raise UserError(f"{url}: no answer; start it with: python -m stream.serve cameras.yaml") from None


def table(now: dict[str, Any]) -> Any:
    """A rich table of `Snapshot.to_json`."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title(now), caption=caption(now), expand=False)
    for name, justify in (
        ("camera", "left"), ("state", "left"), ("in/s", "right"), ("answers/s", "right"), ("people", "right"),
        ("delay s", "right"), ("awake", "left"), ("lost", "left"), ("drops", "left"), ("", "left"),
    ):
        made.add_column(name, justify=justify)  # type: ignore[arg-type]
    for camera in now["cameras"]:
        n = camera["numbers"]
        made.add_row(
            camera["name"], Text(camera["state"], COLOURS.get(camera["state"], "")), f"{n['taken_fps']:.1f}",
            f"{n['answers_per_s']:.2f}", str(n["people"]), f"{n['delay_s']:.2f}", "yes" if camera["awake"] else "quiet",
            _counts(n["reconnects"]), _counts(n["drops"]), Text(camera["message"][:60], "yellow"),
        )
    return made


def title(now: dict[str, Any]) -> str:
    """`8 of 9 cameras online, up 3:12:09`."""
    wanted = [camera for camera in now["cameras"] if camera["wanted"]]
    online = sum(camera["state"] == "online" for camera in wanted)
    up = int(now["up_s"])
    return f"{online} of {len(wanted)} cameras online, up {up // 3600}:{up // 60 % 60:02}:{up % 60:02}"


def caption(now: dict[str, Any]) -> str:
    """Models, memory, who waits."""
    waiting = ", ".join(f"{count} for {queue}" for queue, count in now["waiting"].items())
    parts = [*now["models"], f"{now['memory_bytes'] / 1e6:.0f} MB", f"waiting: {waiting}"]
    if now["refused"]:
        parts.append("the changed file is refused: see the log")
    return "; ".join(parts)


def show(url: str, token: str | None, once: bool) -> None:
    """Print the table, again and again until Ctrl-C unless `once`."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if once or not console.is_terminal:
        console.print(table(fetch(url, token)))
        return
    with Live(table(fetch(url, token)), console=console, screen=False, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            try:
                live.update(table(fetch(url, token)), refresh=True)
            except UserError as error:
                live.update(str(error), refresh=True)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "-"
