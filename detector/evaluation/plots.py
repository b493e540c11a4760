"""Pictures of an evaluation. Draws into files only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detector.evaluation.ava import AvaResult, ClassResult

NAMED_CURVES = 10


def draw_precision_recall(result: AvaResult, path: Path) -> None:
    """Draw every class's precision over recall beside a bar for each class's average precision.

    The classes with most ground truth are named in colour, the rest drawn grey.
    """
    shown = [c for c in result.classes if c.positives]
    named = sorted(shown, key=lambda c: -c.positives)[:NAMED_CURVES]
    figure = Figure(figsize=(15, max(5.0, 0.19 * len(shown) + 1.5)), layout="constrained")
    curves, bars = figure.subplots(1, 2, width_ratios=(1.2, 1))
    for c in shown:
        if c not in named:
            _curve(curves, c, color="0.8", linewidth=0.8)
    for i, c in enumerate(named):
        _curve(curves, c, color=f"C{i}", label=f"{c.name.split(' (')[0]} ({c.average_precision:.2f})")
    title = f"mAP {100 * result.mean_ap:.2f}"
    curves.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    curves.legend(fontsize=8, loc="upper right")
    curves.grid(alpha=0.3)
    ranked = sorted(shown, key=lambda c: c.average_precision)
    bars.barh(range(len(ranked)), [c.average_precision for c in ranked], color="C0")
    bars.set_yticks(range(len(ranked)), [f"{c.name.split(' (')[0]} ({c.positives})" for c in ranked], fontsize=8)
    bars.set(xlabel="average precision (boxes in the ground truth)", xlim=(0, 1), ylim=(-0.6, len(ranked) - 0.4))
    bars.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)


def _curve(axes: Axes, c: ClassResult, **style: Any) -> None:
    # The curve that the area is taken of: precision made non-increasing from the right.
    precision = np.maximum.accumulate(c.precision[::-1])[::-1]
    recall = np.concatenate([[0.0], c.recall])
    axes.step(recall, np.concatenate([precision[:1], precision]) if len(precision) else [0.0], where="pre", **style)


def draw_confusion(counts: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, rows scaled to 1, with the counts written in.

    Args:
        counts: (A, A) int, true class by predicted class.
        names: A names.
        path: PNG to write.
    """
    n = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(3.0 + 0.45 * n, 24.0)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    axes.set_xticks(range(n), names, rotation=60, ha="right")
    axes.set_yticks(range(n), names)
    axes.set(xlabel="predicted", ylabel="true")
    if n <= 30:
        for i in range(n):
            for j in range(n):
                if counts[i, j]:
                    axes.text(
                        j, i, str(counts[i, j]), ha="center", va="center", fontsize=8,
                        color="white" if shares[i, j] > 0.5 else "black",
                    )
    figure.savefig(path, dpi=110)
