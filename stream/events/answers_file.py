"""Answers of a film from the JSON lines of `stream.webcam --jsonl FILE --all-scores`: rules are tuned on them in a
second, without running the network again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import UserError
from detector.labels import Action, LabelMap
from detector.types import Boxes
from stream.events.records import Observation


def read_answers(path: str | Path, proven: tuple[str, ...] | None = None) -> Iterator[Observation]:
    """Observations of a file of JSON lines, in order.

    Args:
        path: schema 1 of `stream.results`, with every class.
        proven: actions shown to work on real video; None for all.

    Raises:
        UserError: it cannot be read, or a line does not fit; the line is named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    rows = [(n, _parsed(path, n, line)) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    labels = _labels(row for _, row in rows)
    for number, row in rows:
        try:
            yield _observation(row, labels, proven)
        except (KeyError, ValueError, TypeError, IndexError):
            raise UserError(
                f"{path}, line {number}: is no answer with all scores, expected a line of "
                "python -m stream.webcam --jsonl FILE --all-scores"
            ) from None


def _parsed(path: str | Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if row["schema"] != 1:
            raise UserError(f"{path}, line {number}: got schema {row['schema']}, expected 1")
        return row
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}, line {number}: is no JSON line of stream.webcam") from None


def _labels(rows: Iterator[dict[str, Any]]) -> LabelMap:
    """The actions that the people have, by id; the groups come from AVA's list, where the names are its own."""
    from detector.labels import load_labels

    groups = {action.name: action.group for action in load_labels("ava")}
    actions: dict[int, Action] = {}
    for row in rows:
        for person in row.get("people", []):
            for said in person.get("actions", []):
                actions.setdefault(said["id"], Action(said["id"], said["name"], groups.get(said["name"], "")))
    return LabelMap("answers", tuple(actions[key] for key in sorted(actions)))


def _observation(row: dict[str, Any], labels: LabelMap, proven: tuple[str, ...] | None) -> Observation:
    w, h = row["size"]
    people = row["people"]
    scores = np.zeros((len(people), len(labels)), np.float32)
    for person, into in zip(people, scores):
        if len(person["actions"]) != len(labels):
            raise ValueError("some scores are missing")
        for said in person["actions"]:
            into[labels.column_of_id[said["id"]]] = said["score"]
    boxes = np.array([p["box"] for p in people], np.float32).reshape(-1, 4) / np.array([w, h, w, h], np.float32)
    utc = datetime.fromisoformat(row["utc"]).timestamp() if "utc" in row else None
    return Observation(
        row["time_s"], Boxes(boxes, np.array([p["score"] for p in people]), np.array([p["id"] for p in people])),
        scores, labels, utc, w / h, row["model"], () if row["untrained"] else proven, row["untrained"],
    )
