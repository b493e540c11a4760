"""From answers at key frames to spans of time, and from spans to a plot and a table. Pure: no threads, no files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demo.colours import styles_of
from detector.labels import LabelMap
from stream.results import KeyFrameResult

LANE_PX, FRAME_PX = 22, 110
MAX_PEOPLE_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Span:
    """Somebody doing something for a while.

    Attributes:
        person: track id.
        action: name.
        start_s, end_s: media time.
        mean_score, best_score: over the key frames of the span.
        colour: of the action, `#rrggbb`.
        proven: the model's record shows that it knows the action on real video.
    """

    person: int
    action: str
    start_s: float
    end_s: float
    mean_score: float
    best_score: float
    colour: str = "#7F7F7F"
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """What the page keeps of a finished video.

    Attributes:
        times_s: of the key frames, in order.
        duration_s: of the video.
        labels: of the A columns.
        tracks: person to (key-frame positions (K,) int, scores (K, A) float32, what was said (K, A) bool).
        limits: (A,) thresholds that what was said was decided with; None where nobody followed the people.
        proven: action names that the model's record shows to work on real video; None for all.
    """

    times_s: np.ndarray
    duration_s: float
    labels: LabelMap
    tracks: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    proven: tuple[str, ...] | None = None
    limits: np.ndarray | None = None


def summarise(
    results: Sequence[KeyFrameResult], duration_s: float, labels: LabelMap, proven: tuple[str, ...] | None = None,
) -> Summary:
    """Sort answers by person; people without a track are left out."""
    rows: dict[int, tuple[list[int], list[np.ndarray], list[np.ndarray]]] = {}
    for position, result in enumerate(results):
        for row, person in enumerate(result.detections.boxes.track_id.tolist()):
            if person >= 0:
                places, values, said = rows.setdefault(person, ([], [], []))
                places.append(position)
                values.append(result.detections.action_scores[row])
                said.append(np.isin(np.arange(len(labels)), result.steady.columns[row] if result.steady else ()))
    return Summary(
        np.array([r.time_s for r in results], np.float64), duration_s, labels,
        {person: (np.array(places), np.stack(values), np.stack(said))
         for person, (places, values, said) in sorted(rows.items())},
        proven, next((r.steady.thresholds for r in results if r.steady is not None), None),
    )


def find_spans(summary: Summary, thresholds: np.ndarray) -> list[Span]:
    """Runs of key frames at which a person's action is said: with the thresholds that the video was analysed with as
    it was said then, steady in time; with others at or over them.

    A key frame speaks for the time up to half-way to its neighbours; a key frame at which the person is missing or
    the score is lower ends the span.

    Args:
        summary: of a video.
        thresholds: (A,).

    Returns:
        By person, then by start, then by name.
    """
    edges = _edges(summary.times_s, summary.duration_s)
    styles = styles_of(summary.labels, summary.proven)
    spans = []
    own = summary.limits is not None and bool(np.all((thresholds == summary.limits) | np.isinf(thresholds)))
    for person, (places, scores, said) in summary.tracks.items():
        over = said & np.isfinite(thresholds) if own else scores >= thresholds
        for column in np.flatnonzero(over.any(axis=0)):
            rows = np.flatnonzero(over[:, column])
            for run in np.split(rows, np.flatnonzero(np.diff(places[rows]) > 1) + 1):
                values = scores[run, column]
                start_s, end_s = edges[places[run[0]]], edges[places[run[-1]] + 1]
                name = summary.labels[int(column)].short_name
                spans.append(Span(
                    person, name, float(start_s), float(end_s), float(values.mean()), float(values.max()),
                    *styles[name],
                ))
    return sorted(spans, key=lambda s: (s.person, s.start_s, s.action))


def _edges(times_s: np.ndarray, duration_s: float) -> np.ndarray:
    """(K + 1,) borders between what K key frames speak for, inside the video."""
    if not len(times_s):
        return np.array([0.0, duration_s])
    middle = (times_s[1:] + times_s[:-1]) / 2
    step = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    first, last = max(0.0, times_s[0] - step / 2), times_s[-1] + step / 2
    return np.concatenate([[first], middle, [min(last, duration_s) if duration_s > times_s[-1] else last]])


def table_rows(spans: Sequence[Span]) -> list[list[Any]]:
    """Person, action, from, to, seconds, best score, proven: one row a span, for people."""
    return [
        [f"Person {s.person}", s.action, clock_text(s.start_s), clock_text(s.end_s), round(s.end_s - s.start_s, 1),
         round(s.best_score, 2), "yes" if s.proven else "no"]
        for s in spans
    ]


TABLE_HEADERS = ["Person", "Action", "From", "To", "Seconds", "Best score", "Proven"]


def table_csv(spans: Sequence[Span]) -> str:
    """The table as CSV, with times in seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["person", "action", "from_s", "to_s", "seconds", "mean_score", "best_score", "proven"])
    for s in spans:
        writer.writerow([
            s.person, s.action, f"{s.start_s:.3f}", f"{s.end_s:.3f}", f"{s.end_s - s.start_s:.3f}",
            f"{s.mean_score:.4f}", f"{s.best_score:.4f}", "yes" if s.proven else "no",
        ])
    return text.getvalue()


def clock_text(time_s: float) -> str:
    """`1:04.5`: minutes, seconds, tenths."""
    tenths = round(time_s * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def draw_timeline(spans: Sequence[Span], duration_s: float) -> Any:
    """A plotly figure: people as rows, actions as coloured spans, the score on hovering.

    Actions of one person that overlap lie in lanes below each other, so that none hides another.
    """
    from plotly import graph_objects

    people = sorted({s.person for s in spans})[:MAX_PEOPLE_SHOWN]
    lanes, ticks, lane = {}, [], 0
    for person in people:
        first = lane
        for action in _in_order(s.action for s in spans if s.person == person):
            lanes[person, action] = lane
            lane += 1
        ticks.append(((first + lane - 1) / 2, f"Person {person}"))
    figure = graph_objects.Figure()
    for action in _by_time([s for s in spans if s.person in people]):
        mine = [s for s in spans if s.action == action and s.person in people]
        figure.add_bar(
            orientation="h", name=action, legendgroup=action, marker=_marker(mine[0]),
            y=[lanes[s.person, action] for s in mine], base=[round(s.start_s, 2) for s in mine],
            x=[round(s.end_s - s.start_s, 2) for s in mine], width=0.82,
            customdata=[
                [f"Person {s.person}", clock_text(s.start_s), clock_text(s.end_s), f"{s.mean_score:.2f}",
                 f"{s.best_score:.2f}"] for s in mine
            ],
            hovertemplate="<b>%{customdata[0]}: " + action + "</b><br>%{customdata[1]} to %{customdata[2]}"
            "<br>score %{customdata[3]}, best %{customdata[4]}"
            f"{'' if mine[0].proven else '<br>not proven on real video'}<extra></extra>",
        )
    borders = [lanes[p, a] - 0.5 for p, a in lanes if all(lanes[p, a] <= lanes[q] for q in lanes if q[0] == p)]
    figure.update_layout(
        barmode="overlay", height=FRAME_PX + LANE_PX * max(lane, 2), margin={"l": 70, "r": 10, "t": 10, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": "#888888"}, showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, hovermode="closest", dragmode="pan",
        xaxis={"range": [0, max(duration_s, 0.1)], "title": {"text": "seconds"}, "gridcolor": "rgba(128,128,128,0.25)",
               "zeroline": False},
        yaxis={"range": [max(lane, 1) - 0.5, -0.5], "tickvals": [t for t, _ in ticks], "fixedrange": True,
               "ticktext": [name for _, name in ticks], "showgrid": False, "zeroline": False},
        shapes=[
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y,
             "line": {"color": "rgba(128,128,128,0.4)", "width": 1}} for y in borders[1:]
        ],
    )
    if not people:
        figure.add_annotation(text="nobody does anything over the thresholds; lower them", showarrow=False,
                              xref="paper", yref="paper", x=0.5, y=0.5)
    return figure


def _marker(span: Span) -> dict[str, Any]:
    hatch = {} if span.proven else {"pattern": {"shape": "/", "fgcolor": "#1b1d22", "size": 6, "solidity": 0.35}}
    return {"color": span.colour, **hatch}


def _in_order(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def _by_time(spans: Sequence[Span]) -> list[str]:
    """Actions, those that take the most time first."""
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.action] = seconds.get(span.action, 0.0) + span.end_s - span.start_s
    return sorted(seconds, key=lambda action: (-seconds[action], action))
