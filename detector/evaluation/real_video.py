"""What an action model says about real video: proofs that a model trained on renders works, or does not.

    python -m detector.evaluation.real_video --media ../shared/media --weights auto

Walk against stand on true boxes, beside a heuristic and with frozen frames; and labelled single-action clips with
boxes of the person detector. The videos are for measuring only and are no part of the project; see `--media`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.evaluation.labelled_clips import DetectedPeople, labelled_clips, print_table
from detector.evaluation.walk_against_stand import walk_against_stand, walk_against_stand_streamed
from detector.views import FrameView
from detector.weights.choose import load_action_model, resolve_action_model


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
    results = labelled_clips(network, model, args.media, DetectedPeople(args.cache, args.detector))
    print_table(results)
    if args.json:
        figures = {"model": model.name, "vtest": walk, "vtest_streamed": streamed,
                   "segments": [vars(r) for r in results]}
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
