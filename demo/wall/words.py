"""How a camera is doing, in words for people. Pure."""

from __future__ import annotations

from typing import Any, Literal

from stream.service.snapshot import CameraNow

Mood = Literal["good", "wait", "bad", "off"]
# A camera that should give pictures and gave none for so long has stalled; its tile says so within five seconds.
STALLED_S = 3.0


def words_of(camera: CameraNow) -> tuple[Mood, str]:
    """Mood and a sentence: `Live, labels 0.8 s late`, `Offline for 12 s: no answer within 5 s`."""
    numbers, reason = camera.numbers, f": {camera.message}" if camera.message else ""
    if camera.state == "paused":
        return "off", "Paused"
    if camera.state == "off":
        return "off", "Off" + (": not enabled" if camera.message else " at this hour")
    if camera.state == "failed":
        return "bad", f"Failed{reason}"
    if camera.state == "offline" or (camera.state == "online" and camera.silent_s > STALLED_S):
        what = "Offline" if camera.state == "offline" else "No picture"
        return "bad", f"{what} for {span(camera.silent_s)}{reason}"
    if camera.state == "starting":
        return "wait", f"Starting{reason or '…'}"
    if not numbers.answers:
        return "wait", "Live, the first labels are on their way…"
    quiet = "" if camera.awake else ", quiet"
    return "good", f"Live, labels {numbers.delay_s:.1f} s late{quiet}"


def span(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h`, `4 days`."""
    for limit, unit_s, word in ((100, 1, "s"), (6000, 60, "min"), (100 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {word}"
    return f"{seconds / 86400:.0f} days"


def state_of(camera: CameraNow) -> dict[str, Any]:
    """What the page is told about a camera every second."""
    mood, words = words_of(camera)
    n = camera.numbers
    return {
        "name": camera.name, "mood": mood, "words": words, "state": camera.state, "people": n.people,
        "camera_fps": round(n.taken_fps, 1), "answers_per_s": round(n.answers_per_s, 2),
        "delay_s": round(n.delay_s, 2), "drops": n.drops, "reconnects": n.reconnects,
    }
