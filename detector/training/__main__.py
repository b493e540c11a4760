"""Train: `python -m detector.training --recipe ava --data DIR --init WEIGHTS`, or fine-tune on actions of your own."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from detector.command_line import CommandLine, check_folder_to_make, check_share
from detector.errors import UserError, run_command
from detector.training.paper import PLANS, Plan, find_plan
from detector.training.recipe import Execution, Recipe

if TYPE_CHECKING:
    from detector.data.box_clips import BoxClips
    from detector.labels import LabelMap
    from detector.slowfast.network import ActionNetwork
    from detector.training.datasets import Clips, Sources
    from detector.training.distillation import Distillation
    from detector.weights.records import ActionModel

_CONSEQUENCE = {
    "validation": "how well they are known stays unknown; label them in another video",
    "training": "they cannot be learnt",
}
EXAMPLES = """recipes:
{recipes}

examples:
  %(prog)s --recipe finetune --data my.csv --output runs/mine
  %(prog)s --recipe ava --data ava --init slowfast_8x8_r50_k400 --output runs/ava
  torchrun --nproc-per-node 8 -m detector.training --recipe ava --data ava \\
      --init slowfast_8x8_r50_k400 --set batch=1024
  python -m stream.webcam --weights runs/mine/model.pt
  %(prog)s --recipe ava --data ava --init slowfast_8x8_r50 --causal --distill slowfast_8x8_r50

A CSV of your own has a row for each action of each person: video,seconds,x1,y1,x2,y2,action (corners as shares of the
picture; video paths relative to the CSV). python -m detector.training.fill_boxes finds the boxes if you have none.
A run that was stopped goes on when the same command is given again.
"""


def create_parser(prog: str = "python -m detector.training") -> CommandLine:
    """The command line."""
    recipes = "\n".join(f"  {name:10}{plan.about}" for name, plan in PLANS.items())
    parser = CommandLine(
        prog, description="Train as the paper does, or on actions of your own.",
        epilog=EXAMPLES.format(recipes=recipes),
    )
    parser.add_argument("--recipe", required=True, metavar="NAME", help=", ".join(PLANS))
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help="the data set's folder, or a CSV")
    parser.add_argument("--val", type=Path, metavar="CSV",
                        help="to validate on (default: a fifth of the videos; by time where an action is in one alone)")
    parser.add_argument("--init", default="", metavar="WEIGHTS",
                        help="name or file to start from, or random (default: random for kinetics, auto for finetune)")
    parser.add_argument("--network", metavar="NAME", help="with --init random (default: slowfast_8x8_r50)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="of the run (default: runs/RECIPE)")
    parser.add_argument("--labels", default="", metavar="FILE", help="what action ids mean (CSV, pbtxt)")
    parser.add_argument("--proposals", type=Path, metavar="CSV", help="train on predicted boxes with IoU > 0.9 too")
    parser.add_argument("--val-boxes", type=Path, metavar="CSV", help="validate on predicted boxes, as the paper does")
    parser.add_argument("--box-score", type=float, default=0.8, metavar="X", help="least score of these (default 0.8)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a recipe's number")
    parser.add_argument("--freeze-trunk", action="store_true", help="train the last layer only")
    parser.add_argument("--causal", action="store_true",
                        help="a network that looks back only: no look-ahead, each frame computed once")
    parser.add_argument("--clip-frames", type=int, default=0, metavar="N",
                        help="frames of a causal network's training clips (default: those that its head averages)")
    parser.add_argument("--distill", default="", metavar="WEIGHTS",
                        help="clip network whose scores and features a causal one learns, too")
    parser.add_argument("--on-error", choices=("fail", "skip"), default="fail", help="broken rows and videos")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that load clips (default 2)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all)")
    parser.add_argument("--checkpoint-every", type=int, default=200, metavar="N", help="updates (default 200)")
    return parser


def check_arguments(args: argparse.Namespace) -> Plan:
    """Find mistakes before anything slow starts."""
    plan = find_plan(args.recipe)
    if not args.data.exists():
        raise UserError(f"--data {args.data}: no such file or folder")
    if args.recipe != "finetune" and plan.kind != "person" and not args.data.is_dir():
        raise UserError(f"--data {args.data}: the {args.recipe} recipe expects the data set's folder")
    for option, path in (("--val", args.val), ("--proposals", args.proposals), ("--val-boxes", args.val_boxes)):
        if path is not None and not path.is_file():
            raise UserError(f"{option} {path}: no such file")
    if args.output is not None:
        if args.output.exists() and not args.output.is_dir():
            raise UserError(f"--output {args.output}: is a file, expected a folder")
        check_folder_to_make("--output", args.output.parent)  # runs/mine may both be new, more may not
    check_share("--box-score", args.box_score)
    plan.recipe_for(args.set)
    if args.workers < 0 or args.threads < 0 or args.checkpoint_every < 1:
        raise UserError("--workers, --threads and --checkpoint-every: expected no negative number, and 1 or more")
    if not args.init:
        args.init = "random" if args.recipe == "kinetics" else "auto"
    if plan.kind == "person" and (args.causal or args.clip_frames or args.distill):
        raise UserError("--causal, --clip-frames, --distill: the person recipe trains no action network")
    if args.recipe in ("ava", "charades") and args.init == "auto":
        raise UserError(f"--recipe {args.recipe} starts from Kinetics weights: name them with --init (or say random)")
    _check_start(args, plan)
    return plan


def _check_start(args: argparse.Namespace, plan: Plan) -> None:
    """What `--init` and `--network` name has to be here."""
    from detector.weights.choose import check_model_name, find_model

    if args.init == "random":
        if args.network is not None:
            find_model(args.network)
    elif args.network is not None:
        raise UserError(f"--network {args.network}: goes with --init random, got --init {args.init}")
    elif plan.kind != "person":
        check_model_name(args.init)
    args.network = args.network or "slowfast_8x8_r50"


def run_training(args: argparse.Namespace) -> int:
    """Train, validate, save."""
    plan = check_arguments(args)
    from detector.data.problems import Problems
    from detector.device import choose_device
    from detector.training.datasets import Sources
    from detector.training.precision import without_slow_bf16

    recipe = without_slow_bf16(plan.recipe_for(args.set), args.set, choose_device(args.device))
    recipe = replace(recipe, causal=args.causal, clip_frames=args.clip_frames, distill=args.distill)
    if args.freeze_trunk:
        recipe = replace(recipe, frozen=("s*",), rate_factors=())
    folder = args.output or Path("runs") / args.recipe
    execution = Execution(
        device=args.device, workers=args.workers, threads=args.threads, checkpoint_every=args.checkpoint_every,
        log_every=5, channels_last=args.device != "cpu",
    )
    sources = Sources(args.recipe, args.data, args.val, args.labels, args.proposals, args.val_boxes, args.box_score,
                      Problems(skip=args.on_error == "skip"))
    if plan.kind == "person":
        from detector.training.person import train_person_detector

        return train_person_detector(args, plan, recipe, execution, sources, folder)
    return _train_actions(args, plan, recipe, execution, sources, folder)


def _train_actions(
    args: argparse.Namespace, plan: Plan, recipe: Recipe, execution: Execution, sources: Sources, folder: Path
) -> int:
    from detector.data.box_clips import BoxClips
    from detector.evaluation.__main__ import format_table
    from detector.evaluation.validation import BoxValidation, VideoValidation
    from detector.training.datasets import open_clips
    from detector.training.loop import train
    from detector.training.starts import start_network
    from detector.weights.model_file import save_action_model
    from detector.weights.records import WeightsFile

    model, network = start_network(
        args.init, args.network, sources.labels(), plan, recipe.seed, recipe.causal, recipe.clip_frames
    )
    recipe = plan.clips_apart(recipe, model.view, args.set, int(os.environ.get("WORLD_SIZE", "1")))
    teacher = _teacher(recipe, model, network, sources, plan.kind == "boxes") if recipe.distill else None
    clips = open_clips(sources, plan, model)
    describe(clips, model.labels)
    validate: BoxValidation | VideoValidation
    if isinstance(clips.validation, BoxClips):
        validate = BoxValidation(
            clips.validation, model.labels, execution.workers, recipe.precision, clips.truth, folder
        )
        validate.note = counted_classes(clips.validation, model.labels)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        validate = VideoValidation(clips.validation, plan.activation == "sigmoid", execution.workers, recipe.precision)
    weights = clips.train.balanced_weights() if plan.balanced and isinstance(clips.train, BoxClips) else None
    state = train(
        network, clips.train, recipe, folder, execution=execution, validate=validate, sample_weights=weights,
        distillation=teacher,
    )
    counted = f" ({validate.note})" if isinstance(validate, BoxValidation) else ""
    figures = ", ".join(f"{name} {value:.3f}" for name, value in state.best_metrics.items()) + counted
    record = replace(
        model, name=folder.name, accuracy=f"{figures} on {len(clips.validation)} held-out clips of {args.data.name}",
        notes=f"recipe {args.recipe} from {args.init}, seed {recipe.seed}, {state.best_step} updates",
        weights=WeightsFile("", "model.pt", licence="", source=f"trained on {args.data.name}"),
    )
    skipped = clips.train.skipped.value + clips.validation.skipped.value
    if skipped:
        print(f"left out {skipped} x clip that cannot be decoded", file=sys.stderr)
    save_action_model(folder / "model.pt", record, network)
    _save_last(folder, record, network, state.step)
    if isinstance(validate, BoxValidation):
        validate(network)
        if validate.result is not None:
            print(format_table(validate.result))
            (folder / "metrics.json").write_text(json.dumps(validate.result.to_dict(), indent=1) + "\n")
    print(f"wrote {folder / 'model.pt'} ({figures}); curves and log are beside it")
    print(f"wrote {folder / 'model_last.pt'}: the weights of the last update, to try instead")
    print(f"try it: python -m stream.webcam --weights {folder / 'model.pt'}")
    return 0


def _save_last(folder: Path, record: ActionModel, network: ActionNetwork, step: int) -> None:
    """Write the last weights as a model file too: the best ones of few clips may be the best by chance."""
    from detector.training.checkpoints import last_weights
    from detector.weights.model_file import save_action_model
    from detector.weights.records import WeightsFile

    last = copy.deepcopy(network)
    last.load_state_dict({**last.state_dict(), **last_weights(folder / "last.pt")})
    record = replace(
        record, name=f"{folder.name} last", accuracy=f"not measured; the best of this run: {record.accuracy}",
        notes=f"the last weights, after {step} updates", weights=WeightsFile("", "model_last.pt"),
    )
    save_action_model(folder / "model_last.pt", record, last)


def counted_classes(clips: BoxClips, labels: LabelMap) -> str:
    """How many classes a mAP on these clips is over: `mAP over 2 of 3 classes`."""
    return f"mAP over {int((clips.column_counts() > 0).sum())} of {len(labels)} classes"


def _teacher(
    recipe: Recipe, model: ActionModel, network: ActionNetwork, sources: Sources, keyed: bool
) -> Distillation:
    """Read the network to learn from, and have training clips show what it sees."""
    from detector.training.distillation import Distillation, training_sampling
    from detector.weights.choose import load_action_model, resolve_action_model

    teacher_model, path = resolve_action_model(recipe.distill)
    teacher = load_action_model(teacher_model, path)
    distillation = Distillation(
        teacher_model, teacher, model, network, recipe.distill_scores, recipe.distill_features
    )
    sources.training_sampling = training_sampling(model, teacher_model, keyed)
    print(distillation.about)
    return distillation


def describe(clips: Clips, labels: LabelMap) -> None:
    """Print how much there is to learn from."""
    from detector.data.box_clips import BoxClips
    from detector.data.video_clips import VideoClips

    print(f"{len(clips.train)} clips to train on, {len(clips.validation)} to validate on, {len(labels)} classes")
    if isinstance(clips.train, BoxClips) and isinstance(clips.validation, BoxClips) and len(labels) <= 20:
        pairs = zip(labels, clips.train.column_counts(), clips.validation.column_counts())
        print("  " + ", ".join(f"{a.short_name} {int(n)} + {int(m)}" for a, n, m in pairs))
    if clips.note:
        print(f"  {clips.note}")
    if isinstance(clips.train, BoxClips) and isinstance(clips.validation, BoxClips) and clips.truth is None:
        for what, part in (("validation", clips.validation), ("training", clips.train)):
            lacking = [a.short_name for a, count in zip(labels, part.column_counts()) if not count]
            if lacking and len(labels) <= 20:
                print(f"  {what} lacks {', '.join(lacking)}: {_CONSEQUENCE[what]}", file=sys.stderr)
    if isinstance(clips.train, VideoClips) and not clips.validation:
        raise UserError("no video to validate on")


def main(argv: list[str] | None = None, prog: str = "python -m detector.training") -> int:
    """Entry point."""
    return run_training(create_parser(prog).parse_args(argv))


if __name__ == "__main__":
    sys.exit(run_command(main))
