"""Write into a model file from which scores on its actions are shown, which of them are proven, and which are hidden.

    python -m detector.bundled.shown detector/bundled/slowfast_rendered.pt
    python -m detector.evaluation.real_video --media MEDIA --weights detector/bundled/slowfast_rendered.pt \\
        --all-classes --json real.json
    python -m detector.bundled.shown detector/bundled/slowfast_rendered.pt --real real.json

The first call writes the thresholds, which the second one measures and the third one judges by.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.bundled.record import hidden_classes, working_classes
from detector.command_line import CommandLine
from detector.errors import run_command
from detector.rendering.tubes import NAMES
from detector.weights.model_file import read_action_model, save_action_model
from detector.weights.records import ActionModel

# One score for all, and a higher one for what is rare in life and alarms, or is often seen in what it is not: a few
# values, so that they hold on other video than that which they were chosen on.
COMMON = 0.5
HIGHER = {"get up": 0.8, "run/jog": 0.8, "lie/sleep": 0.8, "martial art": 0.8, "dance": 0.7, "jump/leap": 0.6}


def with_thresholds(model: ActionModel, real: dict[str, Any] | None) -> ActionModel:
    """The record with the thresholds, and with what is proven and hidden by the figures of real video."""
    model = replace(model, thresholds=tuple(HIGHER.get(action.name, COMMON) for action in model.labels))
    if real is None:
        return model
    works = working_classes(real)
    notes = model.notes.split("; on real video not shown")[0]
    rest = [name.split(" (")[0] for name in NAMES if name not in works]
    notes += "; on real video not shown to be right at least 7 times in 10: " + ", ".join(rest)
    return replace(model, works_on_real_video=works, not_shown=hidden_classes(real), notes=notes)


def main() -> None:
    """Rewrite the file's record; its tensors stay."""
    parser = CommandLine("python -m detector.bundled.shown", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the model file")
    parser.add_argument("--real", type=Path, help="JSON of detector.evaluation.real_video --all-classes")
    args = parser.parse_args()
    real = json.loads(args.real.read_text(encoding="utf-8")) if args.real else None
    model, network = read_action_model(args.model)
    model = with_thresholds(model, real)
    save_action_model(args.model, model, network, half=True)
    path = args.model.with_suffix(".json")
    if real is not None and path.exists():
        figures = json.loads(path.read_text(encoding="utf-8"))
        figures |= {"works_on_real_video": model.works_on_real_video, "thresholds": model.thresholds,
                    "not_shown": model.not_shown, "real": real}
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for action, score in zip(model.labels, model.thresholds or (), strict=True):
        proven = model.works_on_real_video is None or action.name in model.works_on_real_video
        mark = "  proven" if proven else "  hidden" if action.name in model.not_shown else ""
        print(f"{score:.2f}  {action.name}{mark}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
