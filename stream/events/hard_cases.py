"""Events that the model was not sure of, or that a person marked: clips with boxes that fine-tuning reads.

A folder with the films, `labels.csv` (`video,second,x1,y1,x2,y2,action,person`) of those whose truth is known (marked
right, or wrong with the true action), and `to_label.csv` of the others: put the true action in its seventh column
and append the row to `labels.csv`. Then: python -m detector.training --recipe finetune --data FOLDER/labels.csv
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.errors import UserError
from stream.events.records import Event

# An event whose peak is no further over its limit than this is a hard one.
NEAR = 0.1


def is_hard(event: Event, mark: str, near: float = NEAR) -> bool:
    """Whether a person should look at an event, or has: marked, or its peak near the limit that it crossed."""
    if mark:
        return True
    limits = [reason.limit for reason in event.why if reason.what.startswith("score of ") and reason.crossed == "over"]
    return bool(limits) and event.peak_score - min(limits) <= near


def truth(event: Event, mark: str) -> str | None:
    """The action of an event as a person said it; None where nobody did."""
    if mark == "right":
        return event.action
    return mark.split(":", 1)[1] if mark.startswith("wrong:") else None


def export_hard_cases(
    events: Sequence[Event], marks: Mapping[str, str], films: Path, folder: Path, near: float = NEAR
) -> tuple[int, int, int]:
    """Copy clips of hard cases and write their labels.

    Args:
        events: to choose from; only those about an action, with a box and a film.
        marks: by id.
        films: the recorder's folder.
        folder: to write to.
        near: see `is_hard`.

    Returns:
        How many have a known truth, how many are to be labelled, how many have no film any more.

    Raises:
        UserError: the folder cannot be written.
    """
    known: list[list[str]] = []
    unknown: list[list[str]] = []
    missing = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for event in events:
            mark = marks.get(event.id, "")
            if event.box is None or not event.action or not is_hard(event, mark, near):
                continue
            film = films / event.film
            if not event.film or not film.exists():
                missing += 1
                continue
            name = f"{event.id}.mp4"
            shutil.copyfile(film, folder / name)
            at_s = max(event.film_lead_s + event.peak_s - event.start_s, 0.0)
            action = truth(event, mark)
            row = [name, f"{at_s:.3f}", *(f"{v:.4f}" for v in event.box)]
            (unknown if action is None else known).append(
                [*row, event.action if action is None else action, str(event.person)]
            )
        for file, rows in (("labels.csv", known), ("to_label.csv", unknown)):
            with (folder / file).open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); give another folder") from None
    return len(known), len(unknown), missing
