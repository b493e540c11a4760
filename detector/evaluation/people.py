"""How well people are found and kept apart on a labelled video: recall, precision, changes of id.

    python -m detector.evaluation.people VIDEO LABELS.csv [--detector NAME] [--step N] [--calibrate]
    python -m detector.evaluation.people VIDEO --live

With `--live` boxes shown live are compared with those of the file's complete way; labels are not needed. That is
`python -m stream.bench_boxes`, which is run.

The labels are a CSV with the columns `frame` (counted from 1), `track_id`, `left_px`, `top_px`, `width_px`,
`height_px` and `visible`; people with visible 0 are neither asked for nor counted against.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np

from detector.command_line import CommandLine, check_file_to_write, check_share
from detector.data.decode import open_named
from detector.errors import UserError, run_command
from detector.person import PersonDetector
from detector.tracking import Tracker
from detector.types import Boxes, iou

SAME_IOU = 0.5
THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Labels:
    """The people of one frame.

    Attributes:
        xyxy: (N, 4) float32 boxes in pixels.
        track_id: (N,) int who each is.
        visible: (N,) bool; False: neither asked for nor counted against.
    """

    xyxy: np.ndarray
    track_id: np.ndarray
    visible: np.ndarray


@dataclass
class Score:
    """Counts over frames.

    Attributes:
        people: labelled and visible.
        found: of them, boxed at IoU 0.5, each by one box.
        wrong: boxes that belong to nobody.
        tracked, switches: times that a labelled person's track was there 1 s later, and that its id was another
            than before.
    """

    people: int = 0
    found: int = 0
    wrong: int = 0
    tracked: int = 0
    switches: int = 0

    @property
    def recall(self) -> float:
        """Part of the people that were found."""
        return self.found / max(self.people, 1)

    @property
    def precision(self) -> float:
        """Part of the boxes that are people."""
        return self.found / max(self.found + self.wrong, 1)


def read_labels(path: Path) -> dict[int, Labels]:
    """Read the CSV; frame number to people.

    Raises:
        UserError: no such file, or a row that does not fit; the line is named.
    """
    rows: dict[int, list[list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    x, y, w, h = (float(row[key]) for key in ("left_px", "top_px", "width_px", "height_px"))
                    person = [x, y, x + w, y + h, int(row["track_id"]), int(row["visible"])]
                    rows.setdefault(int(row["frame"]), []).append(person)
                except (KeyError, ValueError, TypeError) as error:
                    raise UserError(f"labels {path}, line {line}: {error}; expected {__doc__.split('CSV with ')[1]}"
                                    .replace("\n", " ")) from None
    except OSError as error:
        raise UserError(f"labels {path}: {error.strerror}; expected a CSV of labelled people") from None
    arrays = {frame: np.array(people) for frame, people in rows.items()}
    return {frame: Labels(a[:, :4].astype(np.float32), a[:, 4].astype(int), a[:, 5] > 0) for frame, a in arrays.items()}


def match(labels: Labels, boxes: Boxes) -> tuple[dict[int, int], int]:
    """Match boxes, best first, each to the visible person that it overlaps most (PASCAL VOC's rule).

    Returns:
        person's row to box's row, and how many boxes belong to nobody.
    """
    shared = iou(boxes.xyxy, labels.xyxy)
    pairs: dict[int, int] = {}
    wrong = 0
    for box in np.argsort(-boxes.score, kind="stable"):
        free = [p for p in np.flatnonzero(labels.visible & (shared[box] >= SAME_IOU)) if p not in pairs]
        if free:
            pairs[int(max(free, key=lambda p: shared[box, p]))] = int(box)
        elif not (shared[box, ~labels.visible] >= SAME_IOU).any():
            wrong += 1
    return pairs, wrong


def _frames(video: Path, wanted: set[int]) -> Iterator[tuple[int, float, np.ndarray]]:
    with open_named(video) as film:
        fps = film.fps or 25.0
        for number, picture in enumerate(film.pictures(), start=1):
            if number > max(wanted, default=0):
                break
            if number in wanted:
                yield number, (number - 1) / fps, picture.bgr()


def evaluate(detector: PersonDetector, video: Path, labels: dict[int, Labels], step: int = 2) -> dict[int, Score]:
    """Show a detector a video in order, every `step` frames and at each labelled one; score each labelled frame.

    Returns:
        frame number to that frame's counts.
    """
    wanted = set(labels) | set(range(1, max(labels, default=0) + 1, step))
    scores: dict[int, Score] = {}
    times: dict[int, float] = {}
    tracker = Tracker(history_s=1e9)
    for number, time_s, image in _frames(video, wanted):
        boxes = detector.detect(image)
        tracker.update(boxes, time_s)
        if number in labels:
            pairs, wrong = match(labels[number], boxes)
            scores[number] = Score(int(labels[number].visible.sum()), len(pairs), wrong)
            times[number] = time_s
    last_id: dict[int, int] = {}
    for number, score in scores.items():
        past = tracker.boxes_at(times[number])
        for person, box in match(labels[number], past)[0].items():
            who, track_id = int(labels[number].track_id[person]), int(past.track_id[box])
            score.tracked += 1
            score.switches += last_id.get(who, track_id) != track_id
            last_id[who] = track_id
    return scores


def total(scores: dict[int, Score], frames: list[int] | None = None) -> Score:
    """Add up the counts of some frames, or of all."""
    chosen = [scores[f] for f in (scores if frames is None else frames) if f in scores]
    return Score(*(sum(column) for column in zip(*(astuple(score) for score in chosen), strict=True)))


def calibrate(detector: PersonDetector, video: Path, labels: dict[int, Labels], step: int, precision: float) -> None:
    """Choose the threshold on one half of the labelled frames, show it on the other; print both."""
    order = sorted(labels)
    halves = {"first half": order[: len(order) // 2], "second half": order[len(order) // 2 :]}
    results = {}
    for detector.threshold in THRESHOLDS:
        results[detector.threshold] = evaluate(detector, video, labels, step)
        row = ", ".join(f"{n} {_show(total(results[detector.threshold], f))}" for n, f in halves.items())
        print(f"threshold {detector.threshold:.2f}: {row}")
    for (name, frames), (other, rest) in (tuple(halves.items()), tuple(halves.items())[::-1]):
        good = [t for t, s in results.items() if total(s, frames).precision >= precision]
        if not good:
            print(f"{name}: no threshold reaches precision {precision}")
            continue
        best = max(good, key=lambda t: total(results[t], frames).recall)
        print(f"chosen on the {name}: {best:.2f}; on the {other}: {_show(total(results[best], rest))}")


def _show(score: Score) -> str:
    return f"recall {score.recall:.3f} precision {score.precision:.3f}"


def _live(options: argparse.Namespace) -> int:
    """Run the command that knows time, in a process of its own: nothing here does."""
    if options.labels is not None or options.calibrate:
        raise UserError("--live compares with the file's complete way: give no labels, and no --calibrate")
    command = [sys.executable, "-m", "stream.bench_boxes", str(options.video), "--detector", options.detector]
    if options.person_threshold is not None:
        command += ["--person-threshold", str(options.person_threshold)]
    if options.json:
        command += ["--json", str(options.json)]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    from detector.person.select import create_person_detector

    parser = CommandLine("python -m detector.evaluation.people", description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("labels", type=Path, nargs="?", help="CSV of labelled people; not with --live")
    parser.add_argument("--live", action="store_true", help="play it as a camera: do boxes keep up?")
    parser.add_argument("--detector", default="auto", help="as in `python -m detector.weights list` (auto)")
    threshold = parser.add_argument(
        "--person-threshold", type=float, metavar="X", help="surety that a box is a person, 0 to 1 (the detector's own)"
    )
    parser.accept_former(threshold, "--threshold")
    parser.add_argument("--step", type=int, default=2, help="frames between two looks; labelled ones besides (2)")
    parser.add_argument("--calibrate", action="store_true", help="choose the threshold on half, show the other half")
    parser.add_argument("--json", type=Path, help="write the counts of each labelled frame here")
    options = parser.parse_args(arguments)
    check_share("--person-threshold", options.person_threshold)
    check_file_to_write("--json", options.json)
    if options.live:
        return _live(options)
    if options.labels is None:
        raise UserError("expected a CSV of labelled people after the video, or --live")
    for path in (options.video, options.labels):
        if not path.is_file():
            raise UserError(f"{path}: no such file")
    labels = read_labels(options.labels)
    detector = create_person_detector(options.detector, options.person_threshold)
    print(detector.notice)
    if options.calibrate:
        calibrate(detector, options.video, labels, max(options.step, 1), precision=0.8)
        return 0
    scores = evaluate(detector, options.video, labels, max(options.step, 1))
    order = sorted(scores)
    parts = {"all": order, "first half": order[: len(order) // 2], "second half": order[len(order) // 2 :]}
    for name, frames in parts.items():
        score = total(scores, frames)
        print(f"{name:<12} {len(frames):>3} frames {score.people:>4} people  {_show(score)}", end="")
        print(f"  id changes {score.switches} of {score.tracked}")
    if options.json:
        options.json.write_text(json.dumps({frame: asdict(score) for frame, score in scores.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
