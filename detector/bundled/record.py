"""Turn a finished run of `detector.bundled.train` into the model file that ships, with a record that says how good.

    python -m detector.evaluation.real_video --media MEDIA --weights runs/bundled/model.pt --json real.json
    python -m detector.bundled.record rendered runs/bundled detector/bundled/slowfast_rendered.pt \\
        --real real.json --provenance "command, seed, commit"

Without --real the file says that nothing is known about real video. Beside the file goes a .json with all figures.
"""

from __future__ import annotations

import json
from collections import Counter
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
# What "works on real video" asks of a class: this precision over at least so many labels shown at labelled key frames,
# and that it begins at most so often in ordinary life, if it is nothing that ordinary life is made of.
WORKS_PRECISION, WORKS_LABELS, WORKS_BEGUN_A_MINUTE = 0.7, 10, 1.0
ORDINARY = ("stand", "walk", "sit", "bend/bow (at the waist)")
# Under this precision, over so many labels, a class is not shown unless all are asked for.
HIDDEN_PRECISION, HIDDEN_LABELS = 0.4, 3


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
    """Classes that are right most times that they are shown: on labelled video, and not begun where nobody does so."""
    works = []
    for name in NAMES:
        right, wrong, begun_a_minute = _shown(real, "steady", name)
        often = right + wrong >= WORKS_LABELS and right >= WORKS_PRECISION * (right + wrong)
        if often and (name in ORDINARY or begun_a_minute <= WORKS_BEGUN_A_MINUTE):
            works.append(name)
    return tuple(works)


def hidden_classes(real: dict[str, Any]) -> tuple[str, ...]:
    """Classes that are wrong most times that they are shown; raw labels say it where steady ones are too few."""
    hidden = []
    for name in NAMES:
        counts = [_shown(real, kind, name)[:2] for kind in ("steady", "raw")]
        right, wrong = next(((r, w) for r, w in counts if r + w >= HIDDEN_LABELS), (1, 0))
        if right < HIDDEN_PRECISION * (right + wrong):
            hidden.append(name)
    return tuple(hidden)


def _shown(real: dict[str, Any], kind: str, name: str) -> tuple[int, int, float]:
    """Labels that were right and wrong on labelled video, and how often one began in a minute of ordinary life."""
    shown = real.get("shown", {}).get(kind)
    if shown is None:
        return 0, 0, 0.0
    tables = [shown["classes"].get(name, {}), shown.get("vtest", {}).get(name, {})]
    right, wrong = (sum(table.get(key, 0) for table in tables) for key in ("right", "wrong"))
    return right, wrong, 60 * tables[0].get("begun", 0) / max(shown["ordinary_s"], 1e-9)


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
        notes += "; on real video not shown to be right at least 7 times in 10: " + ", ".join(rest)
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
