"""Events as text: a table, JSON lines, CSV, AVA's CSV. Pure, apart from writing lines."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from detector.errors import UserError
from detector.labels import LabelMap
from stream.events.records import Event, event_to_json, iso
from stream.events.rules import seconds

FORMATS = ("table", "jsonl", "csv", "ava")
COLUMNS = (
    "id", "camera", "rule", "kind", "action", "zone", "direction", "person", "track", "start", "end", "seconds",
    "start_s", "end_s", "peak_score", "mean_score", "unproven", "snapshot", "film",
)


def moment(text: str, now_utc: float | None = None) -> float:
    """`2h` (ago), `2026-01-31`, `2026-01-31T09:00`, or with a zone, in seconds since 1970.

    Raises:
        UserError: it is none of these.
    """
    now_utc = time.time() if now_utc is None else now_utc
    if re.fullmatch(r"[0-9.]+(ms|s|m|min|h|d)?", text):
        try:
            return now_utc - float(seconds(text))
        except ValueError:
            pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UserError(f"{text}: is no time, expected 2h, 7d, 2026-01-31 or 2026-01-31T09:00") from None


def lines_of(events: Sequence[Event], form: str, labels: LabelMap | None = None) -> Iterator[str]:
    """The lines of a listing; `labels` give AVA's numbers."""
    if form == "table":
        yield from _table(events)
    elif form == "jsonl":
        for event in events:
            yield json.dumps(event_to_json(event), ensure_ascii=False)
    elif form == "csv":
        yield from _csv([COLUMNS, *([_cell(event_to_json(e).get(key)) for key in COLUMNS] for e in events)])
    else:
        yield from _csv(_ava(events, labels))


def explained(event: Event) -> Iterator[str]:
    """All about one event, a line each, and why it is one."""
    for key, value in event_to_json(event, why=False).items():
        if value not in ("", None, -1, {}) and not key.endswith("_utc"):
            yield f"{key:14} {value}"
    yield "why"
    for reason in event.why:
        yield f"  {reason}"


def _table(events: Sequence[Event]) -> Iterator[str]:
    rows = [("id", "when", "camera", "what", "zone", "for", "peak", "")]
    for e in events:
        when = f"{e.start_s:.1f} s" if e.start_utc is None else datetime.fromtimestamp(e.start_utc).strftime(
            "%Y-%m-%d %H:%M:%S"
        )
        what = f"{e.rule}: {e.action}" if e.action and e.action != e.rule else e.rule
        lasted = "goes on" if e.seconds is None else f"{e.seconds:.1f} s"
        notes = " ".join(word for word in (e.direction, "unproven" if e.unproven else "") if word)
        rows.append((e.id, when, e.camera, what, e.zone, lasted, f"{e.peak_score:.2f}", notes))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    if not events:
        yield "no event"


def _ava(events: Sequence[Event], labels: LabelMap | None) -> Iterator[list[str]]:
    """`video,second,x1,y1,x2,y2,action id,score` of each event's peak, of those about an action."""
    for event in events:
        if event.box is None or not event.action:
            continue
        action = event.action
        if labels is not None:
            try:
                action = str(labels[labels.find(event.action)].id)
            except UserError:
                continue
        moment_s = f"{event.peak_s:08.3f}"
        yield [event.source or event.camera, moment_s, *(f"{v:.4f}" for v in event.box), action,
               f"{event.peak_score:.4f}"]


def _csv(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(row)
        yield line.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def short(event: Event) -> str:
    """`14:03:22Z door fall` for logs."""
    return f"{iso(event.start_utc) or f'{event.start_s:.1f} s'} {event.camera} {event.rule}"
