"""Turn a finished run of `detector.bundled.train` into the model file that ships, with a record that says how good.

    python -m detector.evaluation.real_video --media MEDIA --weights runs/bundled/model.pt --json real.json
    python -m detector.bundled.record rendered runs/bundled detector/bundled/slowfast_rendered.pt \\
        --real real.json --provenance "command, seed, commit"

Without --real the file says that nothing is known about real video. Beside the file goes a .json with all figures.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detector.bundled.train import (
    BUNDLED_CONFIG,
    average_precision,
    bundled_labels,
    find_shards,
    metrics_on_renders,
    score_clips,
)
from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.rendering.shards import Shards, load_shards
from detector.rendering.tubes import NAMES, POSES, TubeRecipe
from detector.slowfast.network import ActionNetwork, create_network
from detector.training.checkpoints import read_checkpoint
from detector.weights.model_file import save_action_model
from detector.weights.records import ActionModel, WeightsFile

NAME = "slowfast_rendered"
# What "works on real video" asks of a class: this share of its labelled key frames with the class on top of all poses,
# over at least so many key frames of at least two labelled segments.
WORKS_TOP1, WORKS_KEY_FRAMES, WORKS_SEGMENTS = 0.60, 15, 2


def load_run(folder: Path) -> tuple[ActionNetwork, int]:
    """The averaged weights of a run's last checkpoint, and its step.

    Raises:
        UserError: there is none.
    """
    path = folder / "last.pt"
    if not path.exists():
        raise UserError(f"{folder}: no last.pt; run: python -m detector.bundled.train SHARDS {folder}")
    content = read_checkpoint(path)
    network = create_network(BUNDLED_CONFIG, seed=0)
    network.load_state_dict(content["average"]["values"] if content.get("average") else content["network"])
    return network.eval(), int(content["state"]["step"])


def tables_on_renders(scores: np.ndarray, shards: Shards) -> dict[str, Any]:
    """Figures over all classes, and of each: number, average precision, recall and what it is taken for."""
    targets, poses = shards.targets[: len(scores)], len(POSES)
    truth, guess = targets[:, :poses].argmax(1), scores[:, :poses].argmax(1)
    classes = {}
    for k, name in enumerate(NAMES):
        row: dict[str, Any] = {"clips": int(targets[:, k].sum()), "ap": average_precision(scores[:, k], targets[:, k])}
        if k < poses:
            taken = Counter(POSES[g] for g in guess[truth == k])
            row["recall"] = taken[name] / max(row["clips"], 1)
            row["taken_for"] = {n: c for n, c in taken.most_common(4) if n != name}
        classes[name] = row
    return {**metrics_on_renders(scores, targets), "clips": len(scores), "classes": classes}


def working_classes(real: dict[str, Any]) -> tuple[str, ...]:
    """Classes that real video says work; walk and stand also by vtest's figures."""
    rows: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for segment in real.get("segments", []):
        if segment["key_frames"]:
            rows[segment["label"]].append((segment["key_frames"], segment["top1"]))
    walk = real.get("vtest", {})
    if walk:
        rows["walk"].append((walk["people"] - walk["standing"], walk["walk_top1"]))
        rows["stand"].append((walk["standing"], walk["stand_top1"]))
    works = []
    for name in NAMES:
        total = sum(n for n, _ in rows[name])
        enough = total >= WORKS_KEY_FRAMES and len(rows[name]) >= WORKS_SEGMENTS
        if enough and sum(n * top1 for n, top1 in rows[name]) / total >= WORKS_TOP1:
            works.append(name)
    return tuple(works)


def make_record(renders: dict[str, Any] | None, real: dict[str, Any] | None, provenance: str) -> ActionModel:
    """The record of the bundled model."""
    recipe = TubeRecipe()
    accuracy, notes = "", "trained on rendered people only"
    works: tuple[str, ...] = ()
    if renders:
        accuracy = (f"held-out renders: pose top-1 {renders['pose_top1']:.2f}, mAP {renders['mAP']:.2f} "
                    f"over {len(NAMES)} classes")
    if real:
        walk = real["vtest"]
        accuracy += (f"; real street video, walk against stand: balanced {walk['balanced']:.3f}, "
                     f"AUC {walk['auc']:.3f}")
        works = working_classes(real)
        rest = [n.split(" (")[0] for n in NAMES if n not in works]
        notes += "; on real video not shown to work: " + ", ".join(rest)
    return ActionModel(
        name=NAME, network=BUNDLED_CONFIG, labels=bundled_labels(), sampling=recipe.sampling, view=recipe.view,
        weights=WeightsFile("", f"{NAME}.pt", licence="Apache-2.0", source=provenance), accuracy=accuracy,
        works_on_real_video=works, notes=notes,
    )


def main() -> None:
    """Write the file and its figures."""
    parser = CommandLine("python -m detector.bundled.record", description="Write the bundled model's file.")
    parser.add_argument("shards", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--real", type=Path, help="JSON of detector.evaluation.real_video")
    parser.add_argument("--provenance", default="", help="command, seed, commit")
    parser.add_argument("--draft", action="store_true", help="no figures, only the file")
    args = parser.parse_args()
    network, step = load_run(args.run)
    renders = None
    if not args.draft:
        shards = load_shards(find_shards(args.shards, held_out=True))
        renders = tables_on_renders(score_clips(network, shards), shards)
    real = json.loads(args.real.read_text(encoding="utf-8")) if args.real else None
    record = make_record(renders, real, f"{args.provenance}; step {step}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_action_model(args.output, replace(record), network, half=True)
    figures = {"provenance": args.provenance, "step": step, "works_on_real_video": record.works_on_real_video,
               "renders": renders, "real": real}
    if not args.draft:
        args.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB; {record.accuracy or 'no figures'}")
    if renders:
        for name, row in renders["classes"].items():
            recall = f"{row['recall']:.2f}" if "recall" in row else "    "
            taken = row.get("taken_for", "")
            print(f"  {name:26s} {row['clips']:5d} clips  AP {row['ap']:.2f}  recall {recall}  {taken}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
