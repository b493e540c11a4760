"""How many person-seconds of a labelled video a run through the whole pipeline gets right.

    python -m stream.webcam --source sample --display none --ava-csv scores.csv
    python -m detector.evaluation.person_seconds stream/samples/sample.csv scores.csv

Truth is AVA's label format with person ids, predictions AVA's score format. A labelled person at a labelled second is
right when some detected box overlaps the true one by IoU 0.5 or more (the best such box counts) and the true pose has
the highest score among poses there. A missed person is wrong. Only poses that the model knows are counted.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.labels import load_labels
from detector.types import iou

MIN_IOU = 0.5
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class PersonSeconds:
    """Counts of one video.

    Attributes:
        total, found, right: labelled person-seconds; with a detected box; with the right pose on top as well.
        confusion: (true pose, said pose or "not found") to count.
    """

    total: int
    found: int
    right: int
    confusion: Counter[tuple[str, str]]

    @property
    def share(self) -> float:
        """Right person-seconds over all."""
        return self.right / self.total if self.total else float("nan")


def _rows(path: Path, columns: int) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != columns:
            raise UserError(f"{path}, line {number}: got {len(row)} columns, expected {columns}")
    return rows


def count_person_seconds(labels: Path, scores: Path) -> PersonSeconds:
    """Compare a run's scores with a video's labels.

    Args:
        labels: rows `video,second,x1,y1,x2,y2,action id,person id`.
        scores: rows `video,second,x1,y1,x2,y2,action id,score`.

    Raises:
        UserError: a file cannot be read or has other columns.
    """
    ava = load_labels("ava")
    names = {action.id: action.name for action in ava if action.group == "pose"}
    said: dict[float, dict[Corners, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in _rows(scores, 8):
        if int(row[6]) in names:
            x1, y1, x2, y2 = (float(v) for v in row[2:6])
            said[float(row[1])][(x1, y1, x2, y2)][names[int(row[6])]] = float(row[7])
    total = found = right = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for row in _rows(labels, 8):
        if int(row[6]) not in names:
            continue
        x1, y1, x2, y2 = (float(v) for v in row[2:6])
        truth, total = names[int(row[6])], total + 1
        boxes: Collection[Corners] = said.get(float(row[1]), {})
        shared = iou(np.array(list(boxes)).reshape(-1, 4), np.array([[x1, y1, x2, y2]]))[:, 0]
        best = list(boxes)[int(shared.argmax())] if len(boxes) else None
        if best is None or shared.max() < MIN_IOU:
            confusion[(truth, "not found")] += 1
            continue
        poses = said[float(row[1])][best]
        top = max(poses, key=lambda name: poses[name])
        found, right = found + 1, right + (top == truth)
        confusion[(truth, top)] += 1
    return PersonSeconds(total, found, right, confusion)


def main() -> None:
    """Print the counts."""
    parser = CommandLine(
        "python -m detector.evaluation.person_seconds",
        description="Share of labelled person-seconds that a run got right.",
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("scores", type=Path)
    args = parser.parse_args()
    result = count_person_seconds(args.labels, args.scores)
    print(f"{result.total} person-seconds, {result.found} found, {result.right} right: {result.share:.2f}")
    for (truth, top), count in sorted(result.confusion.items()):
        print(f"  {truth:26s} {top:26s} {count:4d}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
