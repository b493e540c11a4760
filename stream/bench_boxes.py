"""How well boxes keep up: those shown live against those of the file's complete way, picture by picture.

    python -m stream.bench_boxes VIDEO [--display now|synced] [--rounds N]
    python -m detector.evaluation.people VIDEO --live

The video is watched completely first, without a clock; then some times as if it were a camera. Each box of the
complete way is compared with the live box that overlaps it most at the moment the picture is handed out. A round's
first second is left out: the first clip is not full before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from detector.command_line import CommandLine, check_file_to_write
from detector.errors import UserError, run_command
from detector.types import Boxes, iou
from stream.pipeline import Options, Pipeline
from stream.session import Session, open_session
from stream.session_options import add_session_options, check_session_options
from stream.sources import VideoFile

BEGIN_S = 1.0
# A live box that overlaps less is no box of that person.
NO_BOX_IOU = 0.1


def complete(session: Session, path: str) -> dict[int, Boxes]:
    """Watch a file completely; frame index to people."""
    seen = {}
    with Pipeline(VideoFile(path), session, Options(every_s=60.0)) as pipeline:
        for update in pipeline:
            if update.frame is not None:
                seen[update.frame.index] = update.boxes
    return seen


def live(session: Session, path: str, display: str) -> tuple[dict[int, Boxes], dict[str, float]]:
    """Watch a file as if it were a camera: frame index to people as shown, and rates at the end."""
    options = Options(display="synced" if display == "synced" else "now")
    seen: dict[int, Boxes] = {}
    rates: list[float] = []
    answers, last = 0, 0.0
    with Pipeline(VideoFile(path, live=True), session, options) as pipeline:
        for update in pipeline:
            answers += len(update.results)
            if update.frame is not None and update.frame.index not in seen:
                seen[update.frame.index] = update.boxes
                last = update.time_s
            rates.append(update.status.detections_per_s)
    rates = [rate for rate in rates if rate > 0]
    return seen, {
        "box_updates_per_s": float(np.median(rates)) if rates else 0.0, "answers_per_s": answers / max(last, 1e-9),
    }


def compare(reference: dict[int, Boxes], shown: dict[int, Boxes], first: int = 0) -> dict[str, float]:
    """How the boxes shown cover those of the reference, over the pictures from a frame index on that were shown.

    Returns:
        `people` compared, `median_iou` and `without_a_box` (share) of them, `extra` boxes shown over all shown.
    """
    overlaps: list[float] = []
    extra = count = 0
    for index, boxes in shown.items():
        if index < first or index not in reference:
            continue
        shared = _paired(iou(reference[index].xyxy, boxes.xyxy))
        overlaps += shared
        count += len(boxes)
        extra += len(boxes) - sum(value >= NO_BOX_IOU for value in shared)
    values = np.array(overlaps)
    return {
        "people": float(len(values)), "median_iou": float(np.median(values)) if len(values) else 0.0,
        "without_a_box": float((values < NO_BOX_IOU).mean()) if len(values) else 0.0, "extra": extra / max(count, 1),
    }


def _paired(shared: np.ndarray) -> list[float]:
    """Each row's overlap with a column of its own, the best pairs first; 0 for rows that are left over."""
    shared, found = shared.copy(), [0.0] * len(shared)
    while shared.size and shared.max() > 0:
        row, column = np.unravel_index(int(shared.argmax()), shared.shape)
        found[row] = float(shared[row, column])
        shared[row], shared[:, column] = 0.0, 0.0
    return found


def measure(session: Session, path: str, displays: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """The figures of each way of display, medians over rounds."""
    source = VideoFile(path)
    fps, size_hw = source.fps or 25.0, source.size_hw
    source.close()
    session.prepare(size_hw).result()
    reference = complete(session, path)
    figures = []
    for display in displays:
        results = []
        for _ in range(rounds):
            shown, rates = live(session, path, display)
            results.append(compare(reference, shown, round(BEGIN_S * fps)) | rates)
        median = {name: round(float(np.median([r[name] for r in results])), 3) for name in results[0]}
        figures.append({"video": Path(path).name, "display": display, "detector": session.detector_name, **median})
    return figures


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    cli = CommandLine("python -m stream.bench_boxes", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("video", nargs="+", help="video files")
    add_session_options(cli)
    cli.add_argument("--display", choices=("now", "synced", "both"), default="both", help="which picture is drawn")
    cli.add_argument("--rounds", type=int, default=1, metavar="N", help="live rounds; medians are told (1)")
    cli.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = cli.parse_args(argv)
    if not 1 <= args.rounds <= 1000:
        raise UserError(f"--rounds {args.rounds}: expected 1 to 1000")
    for path in args.video:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
    check_file_to_write("--json", args.json)
    check_session_options(args)
    displays = ("now", "synced") if args.display == "both" else (args.display,)
    figures: list[dict[str, Any]] = []
    with open_session(
        args.model, args.detector, engine=args.engine, precision=args.precision, device=args.device,
        person_threshold=args.person_threshold, untrained=args.untrained, causal=args.causal,
        report=lambda line: print(line, file=sys.stderr),
    ) as session:
        for path in args.video:
            for row in measure(session, path, displays, args.rounds):
                figures.append(row)
                print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def run(argv: list[str] | None = None) -> int:
    """Prepare the process and run the command."""
    import cv2

    cv2.setNumThreads(1)
    return main(argv)


if __name__ == "__main__":
    sys.exit(run_command(run))
