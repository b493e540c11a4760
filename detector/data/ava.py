"""AVA's files: boxes with actions at key frames, predicted boxes, excluded key frames, label lists.

As published (research.google.com/ava/download.html), without header lines:

    ava_{train,val}_v2.1.csv, _v2.2.csv        video_id,timestamp,x1,y1,x2,y2,action_id,person_id
    …_excluded_timestamps_….csv                video_id,timestamp
    ava_{train,val}_predicted_boxes.csv        video_id,timestamp,x1,y1,x2,y2,[action_id],score
    ava_action_list_….pbtxt                    label { name: "…" label_id: N … } or item { name: "…" id: N }
    results (also of this program's stream)    video_id,timestamp,x1,y1,x2,y2,action_id,score

Corners are shares of width and height, 0 to 1. Timestamps are seconds; they are compared to the microsecond, as the
official evaluator does, so that 902, 0902 and 902.0 are one key frame. A row of two columns names a key frame
without boxes.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detector.data.problems import Problems
from detector.errors import UserError
from detector.labels import Action, LabelMap, load_labels, read_label_csv

# AVA draws some boxes a rounding error outside the picture.
CORNER_SLACK = 0.01

FrameKey = tuple[str, int]


@dataclass(frozen=True)
class AvaRow:
    """One row of an AVA file.

    Attributes:
        line: 1-based, of the file.
        video: video_id as written.
        time_s: timestamp.
        box: (x1, y1, x2, y2), shares of width and height; None in rows of two columns or with empty corners.
        action: the action column as written: an id, in our own files also a name, or "".
        last: the eighth column as written: person id or score, or "".
    """

    line: int
    video: str
    time_s: float
    box: tuple[float, float, float, float] | None
    action: str
    last: str

    @property
    def key(self) -> FrameKey:
        """The key frame that it is about, in microseconds."""
        return self.video, round(self.time_s * 1e6)


def read_rows(path: str | Path, problems: Problems) -> Iterator[AvaRow]:
    """Read the rows of any of AVA's CSV files.

    A first line whose second field is not a number is taken for a header. Rows with a wrong number of columns,
    times or corners that are no numbers, corners that make no box, a stray quote, or an eighth column that is no number
    (a label with a comma in it makes one) are problems.

    Raises:
        UserError: the file is not there or not text; the first problem unless they are skipped.
    """
    for line, row in csv_rows(path, problems):
        if line == 1 and len(row) > 1 and not is_number(row[1]):
            continue
        if len(row) not in (2, 6, 7, 8):
            problems.add("bad row", path, line, f"got {len(row)} columns, expected 2, 6, 7 or 8{_quoted_hint(row)}")
            continue
        if len(row) == 8 and row[7] and not is_number(row[7]):
            what = f"got score {row[7]!r:.60}, expected a number in the eighth column{_quoted_hint(row)}"
            problems.add("bad row", path, line, what)
            continue
        if not row[0] or not is_number(row[1]):
            problems.add("bad row", path, line, f"got {','.join(row[:2])!r}, expected a video id and seconds")
            continue
        box = None
        if len(row) > 2 and any(row[2:6]):
            wrong = _corner_problem(row[2:6])
            if wrong:
                problems.add("bad row", path, line, wrong)
                continue
            x1, y1, x2, y2 = map(float, row[2:6])
            box = (x1, y1, x2, y2)
        yield AvaRow(
            line, row[0], float(row[1]), box, row[6] if len(row) > 6 else "", row[7] if len(row) > 7 else ""
        )


def csv_rows(path: str | Path, problems: Problems, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(line number, fields without surrounding blanks) of each row that is not empty.

    A row is a line: a quote that is not closed on it is a problem of that line and swallows no others.

    Raises:
        UserError: the file is not there or not text; the first problem unless they are skipped.
    """
    space = r"[^\S\n]*" if delimiter != " " else ""
    plain, quoted = rf'[^"{delimiter}]*', rf'{space}"(?:[^"]|"")*"{space}'
    whole = re.compile(rf"(?:{quoted}|{plain})(?:{delimiter}(?:{quoted}|{plain}))*")
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                text = text.rstrip("\r\n")
                if not text.strip():
                    continue
                if '"' in text and not whole.fullmatch(text):
                    problems.add("stray quote", path, line, f"got a stray quote in {text!r:.80}, expected pairs")
                    continue
                row = next(csv.reader([text], delimiter=delimiter, skipinitialspace=delimiter != " "))
                yield line, [field.strip() for field in row]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV text file ({error})") from None


def _quoted_hint(row: list[str]) -> str:
    """How to write a label with a comma, where a row looks as if it had one."""
    rest = [part for part in row[6:] if part]
    if len(rest) < 2 or is_number(rest[0]) or is_number(rest[-1]):
        return ""
    return f'; a label with a comma is written in quotes: "{", ".join(rest)[:60]}"'


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _corner_problem(corners: list[str]) -> str:
    if not all(is_number(corner) for corner in corners):
        return f"got corners {','.join(corners)!r}, expected four numbers"
    x1, y1, x2, y2 = map(float, corners)
    if min(x1, y1, x2, y2) < -CORNER_SLACK or max(x1, y1, x2, y2) > 1 + CORNER_SLACK:
        return f"got corners {','.join(corners)}, expected shares of width and height from 0 to 1, not pixels"
    if x1 >= x2 or y1 >= y2:
        return f"got corners {','.join(corners)}, expected x1 < x2 and y1 < y2"
    return ""


def read_excluded(path: str | Path, problems: Problems) -> set[FrameKey]:
    """Key frames that do not count."""
    return {row.key for row in read_rows(path, problems)}


def read_label_file(path: str | Path) -> LabelMap:
    """Labels of a file: AVA's pbtxt, or CSV `id,name[,group[,evaluated]]`, or the name of a bundled list.

    The pbtxt of the 2018/2019 challenge lists only the classes that count.

    Raises:
        UserError: no such file or list, or not such a file.
    """
    if "/" not in str(path) and "." not in str(path):
        return load_labels(str(path))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"labels {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"labels {path}: not a text file") from None
    if "{" not in text:
        return read_label_csv(text, str(path))
    actions = []
    for block in re.findall(r"\{(.*?)\}", text, re.DOTALL):
        name, number = re.search(r'name:\s*"([^"]*)"', block), re.search(r"\b(?:label_id|id):\s*(\d+)", block)
        if name is None or number is None:
            raise UserError(f"labels {path}: got {' '.join(block.split())!r}, expected name: \"…\" and id or label_id")
        actions.append(Action(int(number[1]), name[1]))
    if not actions:
        raise UserError(f"labels {path}: holds no label")
    return LabelMap(str(path), tuple(actions))
