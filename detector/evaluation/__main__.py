"""Measure predictions or models: `python -m detector.evaluation ava --groundtruth gt.csv --predictions pred.csv`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine, check_file_to_write, check_folder_to_make, check_share
from detector.data.ava import read_excluded, read_label_file
from detector.data.problems import Problems
from detector.errors import UserError, run_command
from detector.evaluation.ava import AvaResult, FrameEntries, evaluate_entries, read_entries
from detector.labels import LabelMap

EXAMPLES = """examples:
  python -m stream.webcam film.mp4 --ava-csv out.csv
      makes predictions for:
  %(prog)s ava --groundtruth ava_val_v2.2.csv --predictions out.csv \\
      --exclusions ava_val_excluded_timestamps_v2.2.csv --json out.json --plots plots
  %(prog)s kinetics --data kinetics --model slowfast_8x8_r50_k400
      kinetics/ holds val.csv and the videos
  %(prog)s charades --data charades --model runs/charades/model.pt
  %(prog)s boxes --data my.csv --model runs/mine/model.pt --ava-csv out.csv
      makes predictions and measures them
"""


def create_parser(prog: str = "python -m detector.evaluation") -> CommandLine:
    """The command line."""
    parser = CommandLine(prog, description="Measure predictions or models.", epilog=EXAMPLES)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="ava|kinetics|charades|boxes")
    ava = kinds.add_parser("ava", help="frame mAP at IoU 0.5 of files in AVA's CSV format")
    ava.add_argument("--groundtruth", required=True, metavar="CSV", help="video,time,x1,y1,x2,y2,action,person")
    ava.add_argument("--predictions", required=True, metavar="CSV", help="video,time,x1,y1,x2,y2,action,score")
    ava.add_argument("--exclusions", metavar="CSV", help="video,time of key frames that do not count")
    ava.add_argument("--labels", default="ava", metavar="FILE", help="pbtxt, CSV or bundled name (default: ava's 60)")
    ava.add_argument("--iou", type=float, default=0.5, help="overlap that a hit needs (default 0.5)")
    ava.add_argument("--max-per-frame", type=int, default=0, metavar="N",
                     help="keep the N best predictions a frame; the official script keeps 50 (default: all)")
    ava.add_argument("--labelled-frames-only", action="store_true",
                     help="leave out predictions in frames without ground truth, as the present official script does")
    ava.add_argument("--time-tolerance", type=float, default=0.0, metavar="S",
                     help="move predictions to the nearest labelled frame within S seconds (default 0: exact)")
    ava.add_argument("--on-error", choices=("fail", "skip"), default="fail", help="what to do with broken rows")
    ava.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    ava.add_argument("--plots", type=Path, metavar="DIR", help="write precision_recall.png")
    for name in ("kinetics", "charades"):
        _add_videos(kinds.add_parser(name, help=f"{name} with 10 clips x 3 crops a video"))
    boxes = kinds.add_parser("boxes", help="a model on the key frames and boxes of an AVA-format CSV of your own")
    boxes.add_argument("--data", required=True, type=Path, metavar="CSV", help="video,seconds,x1,y1,x2,y2,action")
    boxes.add_argument("--ava-csv", "--predictions", type=Path, metavar="CSV", dest="predictions",
                       help="write all scores in the format of AVA's evaluation")
    boxes.add_argument("--scales", type=int, nargs="+", default=[], metavar="PX",
                       help="average over these short sides, as the paper's SlowFast++: 224 256 320")
    boxes.add_argument("--flip", action="store_true", help="average over mirror images too")
    _add_model(boxes)
    return parser


def _add_model(parser: CommandLine) -> None:
    parser.add_argument("--model", "--weights", required=True, metavar="NAME", help="a model's name or weights file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--on-error", choices=("fail", "skip"), default="fail", help="broken rows and videos")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")


def _add_videos(parser: CommandLine) -> None:
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of the list and its videos")
    parser.add_argument("--list", type=Path, metavar="CSV", help="(default: val.csv, Charades_v1_test.csv in DIR)")
    parser.add_argument("--clips", type=int, default=10, help="along each video (default 10)")
    parser.add_argument("--crops", type=int, default=3, help="across each clip (default 3)")
    _add_model(parser)


def evaluated_labels(name: str) -> LabelMap:
    """The classes of a list that count in its metric."""
    labels = read_label_file(name)
    return LabelMap(labels.name, tuple(a for a in labels if a.evaluated))


def move_to_labelled_frames(predictions: FrameEntries, truth: FrameEntries, tolerance_s: float) -> FrameEntries:
    """Give each predicted frame the time of the nearest labelled one of its video, if that is near enough.

    Of several predicted frames near one labelled frame only the nearest moves; the others stay where they are.
    """
    times: dict[str, list[int]] = {}
    for video, time in truth.frames:
        times.setdefault(video, []).append(time)
    nearest: dict[tuple[str, int], tuple[str, int]] = {}
    for video, time in predictions.frames:
        target = min(times.get(video, []), key=lambda t: (abs(t - time), t), default=None)
        if target is not None and abs(target - time) <= tolerance_s * 1e6:
            rival = nearest.get((video, target))
            if rival is None or abs(rival[1] - target) > abs(time - target):
                nearest[video, target] = (video, time)
    moved = {source: target for target, source in nearest.items()}
    entries = {moved.get(key, key): value for key, value in predictions.entries.items() if key in moved}
    stay = {key: value for key, value in predictions.entries.items() if key not in moved and key not in entries}
    frames = {moved.get(key, key) for key in predictions.frames}
    return FrameEntries({**entries, **stay}, frames)


def run_ava(args: argparse.Namespace) -> None:
    """`ava`: read, measure, print, write."""
    labels, problems = evaluated_labels(args.labels), Problems(skip=args.on_error == "skip")
    truth = read_entries(args.groundtruth, labels, problems, scored=False)
    predictions = read_entries(args.predictions, labels, problems, scored=True, max_per_frame=args.max_per_frame)
    if args.time_tolerance:
        predictions = move_to_labelled_frames(predictions, truth, args.time_tolerance)
    excluded = read_excluded(args.exclusions, problems) if args.exclusions else set()
    problems.report()
    if predictions.frames and not predictions.frames & truth.frames:
        (video, time), (other, other_time) = min(predictions.frames), min(truth.frames)
        raise UserError(
            f"{args.predictions} and {args.groundtruth} share no key frame: one has {video!r} at {time / 1e6:g} s, the "
            f"other {other!r} at {other_time / 1e6:g} s; see --time-tolerance"
        )
    result = evaluate_entries(
        truth, predictions, labels, excluded=excluded, iou=args.iou, labelled_frames_only=args.labelled_frames_only
    )
    print(format_table(result))
    if args.json:
        write_json(args.json, result.to_dict())
    if args.plots:
        try:
            from detector.evaluation.plots import draw_precision_recall
        except ImportError:
            raise UserError("--plots needs matplotlib; run: pip install 'slowfast-live[train]'") from None
        args.plots.mkdir(parents=True, exist_ok=True)
        draw_precision_recall(result, args.plots / "precision_recall.png")
        print(f"wrote {args.plots / 'precision_recall.png'}")


def run_videos(args: argparse.Namespace) -> None:
    """`kinetics` and `charades`: score every video with many views and measure."""
    from detector.data.videos import read_charades, read_kinetics
    from detector.device import choose_device
    from detector.evaluation.models import Views, measure_videos, score_videos, torch_scorer
    from detector.weights.choose import load_action_model, resolve_action_model

    charades = args.kind == "charades"
    default = "Charades_v1_test.csv" if charades else "val.csv"
    path = args.list or args.data / default
    model, file = resolve_action_model(args.model)
    if model.network.head != "classification":
        raise UserError(f"--model {args.model}: scores people in boxes, expected a network for whole videos")
    problems = Problems(skip=args.on_error == "skip")
    videos = (read_charades if charades else read_kinetics)(path, model.labels, args.data, problems)
    views = Views(args.clips, args.crops, combine="max" if charades else "mean")
    score = torch_scorer(load_action_model(model, file), choose_device(args.device))
    scores, kept = score_videos(score, videos, model, views, problems)
    problems.report()
    figures = measure_videos(scores, kept, several_answers=charades)
    said = ", ".join(f"{name} {100 * value:.2f}" for name, value in figures.items())
    print(f"{said} over {len(kept)} videos, {args.clips} clips x {args.crops} crops each")
    if args.json:
        write_json(args.json, {**figures, "videos": len(kept), "clips": args.clips, "crops": args.crops})


def run_boxes(args: argparse.Namespace) -> None:
    """`boxes`: score the people of a CSV, measure, write their scores."""
    from detector.data.box_clips import BoxClips
    from detector.data.samples import check_sources, read_samples, sources_beside
    from detector.device import choose_device
    from detector.evaluation.models import score_box_clips, write_predictions
    from detector.evaluation.validation import BoxValidation, score_items
    from detector.weights.choose import load_action_model, resolve_action_model

    model, file = resolve_action_model(args.model)
    problems = Problems(skip=args.on_error == "skip")
    samples = read_samples(args.data, model.labels, sources_beside(args.data), problems)
    clips = BoxClips(check_sources(samples, problems), model.sampling, model.view, skip_broken=problems.skip)
    problems.report()
    network = load_action_model(model, file).to(choose_device(args.device))
    scores = score_box_clips(lambda c: score_items(network, c), clips, args.scales, args.flip)
    if args.predictions:
        write_predictions(args.predictions, clips, scores, [a.id for a in model.labels])
        print(f"wrote {args.predictions}")
    result, top1 = BoxValidation(clips, model.labels).measure(scores)
    print(format_table(result) + (f"; top-1 {100 * top1:.2f}" if top1 is not None else ""))
    if args.json:
        write_json(args.json, result.to_dict())


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Write all figures.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written ({error.strerror})") from None
    print(f"wrote {path}")


def format_table(result: AvaResult) -> str:
    """One line a class, most ground truth first, then the mean."""
    shown = sorted((c for c in result.classes if c.positives), key=lambda c: -c.positives)
    width = max(len(c.name) for c in shown)
    lines = [f"{'id':>3}  {'action':{width}}  {'AP':>6}  {'boxes':>7}  {'predicted':>9}"]
    lines += [
        f"{c.id:3}  {c.name:{width}}  {100 * c.average_precision:6.2f}  {c.positives:7}  {c.detections:9}"
        for c in shown
    ]
    absent = len(result.classes) - len(shown)
    if absent:
        lines.append(f"({absent} classes do not occur in the ground truth and do not count)")
    lines.append(
        f"mAP {100 * result.mean_ap:.2f} over {len(shown)} classes; predictions in {result.frames_predicted} of "
        f"{result.frames} labelled key frames"
    )
    return "\n".join(lines)


def check_arguments(args: argparse.Namespace) -> None:
    """Find mistakes before anything is read.

    Raises:
        UserError: files that are not there, numbers out of range, results that cannot be written.
    """
    from detector.weights.choose import check_model_name

    for name in ("data", "list", "groundtruth", "exclusions", *(["predictions"] if args.kind == "ava" else [])):
        path = getattr(args, name, None)
        if path is not None and not Path(path).exists():
            raise UserError(f"--{name} {path}: no such file{' or folder' if name == 'data' else ''}")
    if args.kind == "ava":
        check_share("--iou", args.iou)
        if args.max_per_frame < 0 or not args.time_tolerance >= 0:
            raise UserError("--max-per-frame and --time-tolerance: expected no negative number")
        if args.plots is not None:
            check_folder_to_make("--plots", args.plots)
    else:
        check_model_name(args.model)
        if args.kind == "boxes":
            check_file_to_write("--ava-csv", args.predictions)
            if min(args.scales, default=32) < 32:
                raise UserError(f"--scales {min(args.scales)}: expected at least 32 pixels")
        elif min(args.clips, args.crops) < 1:
            raise UserError("--clips and --crops: expected at least 1 each")
    check_file_to_write("--json", args.json)


def main(argv: list[str] | None = None, prog: str = "python -m detector.evaluation") -> None:
    """Entry point."""
    args = create_parser(prog).parse_args(argv)
    check_arguments(args)
    {"ava": run_ava, "kinetics": run_videos, "charades": run_videos, "boxes": run_boxes}[args.kind](args)


if __name__ == "__main__":
    sys.exit(run_command(main))
