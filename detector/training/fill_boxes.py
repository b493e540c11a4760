"""Boxes for clips that have none: `python -m detector.training.fill_boxes my.csv` writes `my_boxes.csv` beside it.

Rows of the CSV with empty corners (`clip.mp4,1.5,,,,,wave`) get the box of the most prominent person at that
moment: the largest, as the person detector sees it. Where there were several, a line says so. Look at what it found
before you train on it.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detector.command_line import CommandLine, check_file_to_write
from detector.data.ava import AvaRow, read_rows
from detector.data.problems import Problems
from detector.data.samples import sources_beside
from detector.data.video import VideoError, read_frames
from detector.errors import UserError, run_command
from detector.files import write_whole
from detector.types import Boxes

FindPeople = Callable[[np.ndarray], Boxes]


def fill_boxes(
    path: Path, find_people: FindPeople, problems: Problems, say: Callable[[str], object] = print
) -> list[tuple[AvaRow, tuple[float, ...]]]:
    """Find the missing boxes of a CSV.

    Args:
        path: the CSV.
        find_people: boxes of an (H, W, 3) uint8 BGR picture.
        problems: videos that cannot be read, pictures without a person.
        say: takes a line for each key frame that shows several people.

    Returns:
        Rows with their boxes (x1, y1, x2, y2), shares of the picture; rows without a person are left out.
    """
    find_source = sources_beside(path)
    known: dict[tuple[str, int], tuple[float, ...] | None] = {}
    filled: list[tuple[AvaRow, tuple[float, ...]]] = []
    rows = list(read_rows(path, problems))
    for row in tqdm(rows, unit="row", disable=not sys.stderr.isatty()):
        if row.box is not None:
            filled.append((row, row.box))
            continue
        source = find_source(row.video)
        if source is None:
            problems.add("missing video", path, row.line, f"no video {row.video!r}")
            continue
        if row.key not in known:
            try:
                image = read_frames(source, np.array([row.time_s]), key_time_s=row.time_s)[0]
            except VideoError as error:
                problems.add("broken video", path, row.line, f"{row.video}: {error}")
                continue
            people = find_people(image[..., ::-1])
            known[row.key] = largest_person(people, image.shape[:2])
            if len(people) > 1:
                say(f"{path}, line {row.line}: {row.video} shows {len(people)} people at {row.time_s:g} s, took the "
                    f"largest: {known[row.key]}")
        box = known[row.key]
        if box is None:
            problems.add("no person", path, row.line, f"{row.video} shows nobody at {row.time_s:g} s")
            continue
        filled.append((row, box))
    return filled


def largest_person(boxes: Boxes, size_hw: tuple[int, ...]) -> tuple[float, ...] | None:
    """(x1, y1, x2, y2) of the largest box, shares of the picture, or None."""
    if not len(boxes):
        return None
    areas = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(1)
    h, w = size_hw
    return tuple((boxes.xyxy[int(areas.argmax())] / np.array([w, h, w, h])).clip(0, 1).round(4).tolist())


def main(argv: list[str] | None = None, prog: str = "python -m detector.training.fill_boxes") -> None:
    """Entry point."""
    parser = CommandLine(prog, description="Find the person in rows 'video,seconds,,,,,action' and write their boxes.")
    parser.add_argument("csv", type=Path, metavar="CSV", help="rows of clips; those without corners are filled in")
    parser.add_argument("--output", type=Path, metavar="CSV",
                        help="in the same folder as the input (default: NAME_boxes.csv beside NAME.csv)")
    detector_option = parser.add_argument(
        "--detector", default="auto", metavar="D", help="person detector: a name or a .pth file (default auto)"
    )
    parser.accept_former(detector_option, "--person-detector")
    parser.add_argument("--on-error", choices=("fail", "skip"), default="fail", help="broken rows and videos")
    args = parser.parse_args(argv)
    if not args.csv.is_file():
        raise UserError(f"{args.csv}: no such file, expected a CSV")
    if args.output is None:
        args.output = args.csv.with_name(f"{args.csv.stem}_boxes.csv")
    if args.output.resolve() == args.csv.resolve():
        raise UserError(f"--output {args.output}: is the input, expected another file")
    check_file_to_write("--output", args.output)
    if args.output.resolve().parent != args.csv.resolve().parent:
        raise UserError("--output: expected a file in the input's folder, since video paths are relative to it")
    from detector.person.select import check_detector_name, create_person_detector

    check_detector_name(args.detector)
    problems = Problems(skip=args.on_error == "skip")
    detector = create_person_detector(args.detector)
    try:
        filled = fill_boxes(args.csv, detector.detect, problems, say=lambda line: print(line, file=sys.stderr))
    finally:
        detector.close()
    problems.report()
    if not filled:
        raise UserError(f"{args.csv}: no row has a box or shows a person; nothing was written")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row, box in filled:
        writer.writerow([row.video, round(row.time_s, 6), *box, row.action, row.last])
    try:
        write_whole(args.output, text.getvalue())
    except OSError as error:
        raise UserError(f"--output {args.output}: cannot be written ({error.strerror})") from None
    print(f"wrote {args.output}: {len(filled)} rows with boxes; look at them, then: "
          f"python -m detector.training --recipe finetune --data {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main))
