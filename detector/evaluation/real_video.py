"""What an action model says about real video: proofs that a model trained on renders works, or does not.

    python -m detector.evaluation.real_video --media ../shared/media --weights auto

Walk against stand on true boxes, beside a heuristic and with frozen frames; labelled single-action clips with boxes
of the person detector; and what a person would see: the labels shown, raw by each answer's thresholds and steady, with
precision, recall and changes, and how often labels begin in ordinary life, where nobody falls, fights, runs or lies.
The videos are for measuring only and are no part of the project; see `--media`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.evaluation.labelled_clips import DetectedPeople, labelled_clips, print_table, read_segments
from detector.evaluation.shown_labels import Shown, judge, print_shown
from detector.evaluation.walk_against_stand import read_walkers, walk_against_stand, walk_against_stand_streamed
from detector.evaluation.watched import KeyFrame, watch_video
from detector.steady import SteadyLabels
from detector.views import FrameView
from detector.weights.choose import load_action_model, resolve_action_model
from detector.weights.records import ActionModel


def main() -> None:
    """Run all proofs and print tables."""
    parser = CommandLine(
        "python -m detector.evaluation.real_video", description="Measure an action model on real, labelled video."
    )
    parser.add_argument("--media", type=Path, required=True, help="folder with vtest.avi, vtest_labels.csv, actions/")
    parser.add_argument("--model", "--weights", default="auto", metavar="M", help="a name or a weights file")
    parser.add_argument("--cache", type=Path, help="folder that keeps the person detector's boxes")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--streamed", type=Path, help="vtest's scores of stream.webcam --every 1 --ava-csv, too")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    parser.add_argument("--all-classes", action="store_true", help="judge actions too that are not shown by default")
    parser.add_argument("--whole-frame", type=int, metavar="PX",
                        help="show a tube network the whole frame at this short side instead, with RoIAlign")
    args = parser.parse_args()
    model, path = resolve_action_model(args.model)
    if args.whole_frame:
        model = replace(model, view=FrameView(args.whole_frame))
    network = load_action_model(model, path)
    if not (args.media / "vtest.avi").exists():
        raise UserError(f"media {args.media}: no vtest.avi; give the folder that holds the labelled videos")
    print(f"model: {model.name}")
    walk = walk_against_stand(network, model, args.media)
    print("vtest, true boxes:", {k: round(v, 3) for k, v in walk.items()})
    streamed = None
    if args.streamed:
        streamed = walk_against_stand_streamed(args.media / "vtest_labels.csv", args.streamed)
        print("vtest, streamed:", {k: round(v, 3) for k, v in streamed.items()})
    people = DetectedPeople(args.cache, args.detector)
    results = labelled_clips(network, model, args.media, people)
    print_table(results)
    shown = shown_labels(network, model, args.media, people, args.all_classes)
    if args.json:
        figures = {"model": model.name, "vtest": walk, "vtest_streamed": streamed,
                   "segments": [vars(r) for r in results],
                   "shown": {name: counts.figures() for name, counts in shown.items()}}
        args.json.write_text(json.dumps(figures, indent=1))


def shown_labels(
    network: torch.nn.Module, model: ActionModel, media: Path, people: DetectedPeople, all_classes: bool = False
) -> dict[str, Shown]:
    """Judge, and print, what is shown on the labelled clips and in ordinary life: by each answer alone, and steady."""
    index = media / "actions/clips.csv"
    segments = read_segments(index) if index.exists() else []
    paths = [media / "actions" / name for name in dict.fromkeys(s[0] for s in segments)]
    paths += [*sorted((media / "ordinary").glob("*.mp4")), media / "vtest.avi"]
    watched = [watch_video(network, model, path, people) for path in paths]
    limits = model.default_thresholds(all_classes)
    # Frame 10 n is at second n to within a frame.
    walkers = [(frame / 10, box, pose) for frame, _, box, pose in read_walkers(media / "vtest_labels.csv")]

    def raw() -> Callable[[KeyFrame], list[tuple[int, ...]]]:
        return lambda key: [tuple(np.flatnonzero(row >= limits).tolist()) for row in key.scores]

    def steady() -> Callable[[KeyFrame], list[tuple[int, ...]]]:
        labels = SteadyLabels(model.labels, limits)
        return lambda key: labels.step(key.time_s, key.boxes.track_id.tolist(), key.scores, key.filled)

    shown = {
        name: judge(watched, segments, model.labels, say, walkers) for name, say in (("raw", raw), ("steady", steady))
    }
    for name, counts in shown.items():
        print_shown(f"labels shown, {name}", counts)
    return shown


if __name__ == "__main__":
    raise SystemExit(run_command(main))
