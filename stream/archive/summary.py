"""An archive in numbers: totals of all records, and a page with plots. The plots need plotly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.errors import UserError
from detector.files import write_whole

INSTALL = "pip install plotly"
MOST_ACTIONS, MOST_PEOPLE = 25, 15


def require_plotly() -> Any:
    """Import plotly.

    Raises:
        UserError: it is missing; with the line that installs it.
    """
    try:
        import plotly.graph_objects as plots
    except ImportError:
        raise UserError(f"archive: plotly, which draws the summary, is not installed; run: {INSTALL}") from None
    return plots


def summarise(records: Sequence[dict[str, Any]], bad: Sequence[tuple[str, str]], every_s: float) -> dict[str, Any]:
    """Totals over the records of all videos.

    Args:
        records: as `Books.settle` wrote them.
        bad: names and reasons.
        every_s: seconds between key frames.
    """
    people: Counter[int] = Counter()
    actions: Counter[str] = Counter()
    for record in records:
        people.update({int(number): count for number, count in record["people"].items()})
        actions.update(record["actions"])
    return {
        "videos": len(records), "bad": len(bad), "hours": round(sum(r["seconds"] for r in records) / 3600, 3),
        "key_frames": sum(r["key_frames"] for r in records), "rows": sum(r["rows"] for r in records),
        "events": sum(r["events"] for r in records), "every_s": every_s,
        "key_frames_by_people": {str(n): count for n, count in sorted(people.items())},
        "person_minutes_by_action": {
            name: round(count * every_s / 60, 2) for name, count in actions.most_common()
        },
        "models": sorted({r["model"] for r in records}), "engines": sorted({r["engine"] for r in records}),
        "detectors": sorted({r["detector"] for r in records}),
        "damaged": sorted(r["name"] for r in records if r["damage"]),
    }


def write_summary(output: Path, totals: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write `summary.json` and `summary.html`."""
    write_whole(output / "summary.json", json.dumps(totals, indent=1) + "\n")
    page = draw(totals, records).to_html(include_plotlyjs=True, full_html=True)
    write_whole(output / "summary.html", page)


def draw(totals: dict[str, Any], records: Sequence[dict[str, Any]]) -> Any:
    """The plots as a plotly figure: time by action, key frames by people, speed by video."""
    plots = require_plotly()
    from plotly.subplots import make_subplots

    figure = make_subplots(3, 1, subplot_titles=(
        "minutes of people at work, by action", "key frames by the number of people in them",
        "videos by seconds of video a second and worker",
    ))
    actions = list(totals["person_minutes_by_action"].items())[:MOST_ACTIONS]
    figure.add_trace(plots.Bar(x=[name for name, _ in actions], y=[minutes for _, minutes in actions]), 1, 1)
    people: Counter[str] = Counter()
    for number, count in totals["key_frames_by_people"].items():
        people[number if int(number) < MOST_PEOPLE else f"{MOST_PEOPLE} and more"] += count
    figure.add_trace(plots.Bar(x=list(people), y=list(people.values())), 2, 1)
    speeds = [round(r["seconds"] / r["wall_s"], 2) for r in records if r.get("wall_s")]
    figure.add_trace(plots.Histogram(x=speeds, nbinsx=30), 3, 1)
    figure.update_xaxes(type="category", row=2, col=1)
    title = f"{totals['videos']} videos, {totals['hours']:.2f} hours, {totals['rows']} people at key frames"
    if totals["bad"]:
        title += f", {totals['bad']} videos bad"
    figure.update_layout(title=title, showlegend=False, height=1000)
    return figure
