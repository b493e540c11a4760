"""The plot of a day: cameras as rows, events as spans. A plotly figure as plain data; plotly itself is the page's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from demo.colours import COLOURS
from stream.events.records import Event

LANE_PX, FRAME_PX = 34, 110
# A span that lasts a moment is drawn as wide as this part of the plot, else nobody could see or hit it.
LEAST_SHARE = 1 / 250


def day_figure(
    events: Sequence[Event], cameras: Sequence[str], since_utc: float, until_utc: float, *,
    marks: Mapping[str, str] | None = None, zone: tzinfo | None = None,
) -> dict[str, Any]:
    """Data and layout of the plot.

    Args:
        events: of that time.
        cameras: rows, from above.
        since_utc, until_utc: seconds since 1970; what goes on is drawn to the end.
        marks: by event id: those marked wrong are shown pale.
        zone: of the labels; the machine's own unless given.
    """
    marks = marks or {}
    whats = sorted({what_of(e) for e in events})
    least_s = LEAST_SHARE * (until_utc - since_utc)
    rows = [*cameras, *sorted({e.camera for e in events} - set(cameras))]
    traces = []
    for what in whats:
        mine = [e for e in events if what_of(e) == what and e.start_utc is not None]
        if not mine:
            continue
        starts = [max(e.start_utc or 0.0, since_utc) for e in mine]
        ends = [until_utc if e.end_utc is None else min(e.end_utc, until_utc) for e in mine]
        traces.append({
            "type": "bar", "orientation": "h", "name": what, "y": [e.camera for e in mine],
            "base": [_local(s, zone) for s in starts],
            "x": [1000 * max(end - start, least_s) for start, end in zip(starts, ends, strict=True)],
            "width": 0.7, "marker": {
                "color": colour_for(what),
                "opacity": [0.35 if marks.get(e.id, "").startswith("wrong") else 1.0 for e in mine],
                "pattern": {"shape": "/" if any(e.unproven for e in mine) else "", "fgcolor": "#1b1d22", "size": 6,
                            "fillmode": "overlay", "solidity": 0.35},
            },
            "customdata": [[e.id, _words(e, zone)] for e in mine],
            "hovertemplate": f"<b>{what}</b><br>%{{customdata[1]}}<extra></extra>",
        })
    grid = "rgba(128,128,128,0.25)"
    layout = {
        "barmode": "overlay", "height": FRAME_PX + LANE_PX * max(len(rows), 2),
        "margin": {"l": 90, "r": 12, "t": 8, "b": 36}, "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": "#8a8f98"}, "showlegend": True, "hovermode": "closest",
        "dragmode": "pan", "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"type": "date", "range": [_local(since_utc, zone), _local(until_utc, zone)], "gridcolor": grid},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": rows[::-1], "fixedrange": True,
                  "range": [-0.5, len(rows) - 0.5]},
    }
    return {"data": traces, "layout": layout}


def what_of(event: Event) -> str:
    """What a row of the list and a colour stand for: the rule, with its action where that says more."""
    return f"{event.rule}: {event.action}" if event.action and event.action != event.rule else event.rule


def colour_for(what: str) -> str:
    """A colour that belongs to the word, whatever else is shown."""
    return COLOURS[sum(ord(c) * (i + 7) for i, c in enumerate(what)) % len(COLOURS)]


def _local(utc: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(utc, zone).strftime("%Y-%m-%d %H:%M:%S")


def _words(event: Event, zone: tzinfo | None) -> str:
    begins = datetime.fromtimestamp(event.start_utc or 0.0, zone).strftime("%H:%M:%S")
    lasted = "goes on" if event.seconds is None else f"{event.seconds:.0f} s"
    return f"{event.camera}, {begins}, {lasted}" + (", not proven on real video" if event.unproven else "")
