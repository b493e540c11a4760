"""Pictures of a training run. Draws into files only; no window, no global state of matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw loss, learning rate and validation figures over the updates.

    Args:
        lines: of a run's log, see `detector.training.journal`.
        path: PNG to write; nothing is written for an empty log.
    """
    steps = [(line["step"], line) for line in lines if "loss" in line]
    validations = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    if not steps and not validations:
        return
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, rate, metric = figure.subplots(1, 3)
    x = np.array([step for step, _ in steps])
    y = np.array([line["loss"] for _, line in steps])
    loss.plot(x, y, color="0.75", linewidth=1, label="each log line")
    if len(y) >= 10:
        width = max(len(y) // 20, 3)
        loss.plot(x[width - 1:], _running_mean(y, width), color="C0", label=f"mean of {width}")
        loss.legend()
    rate.plot(x, [line["rate"] for _, line in steps], color="C1")
    names = sorted({name for _, metrics in validations for name in metrics})
    for i, name in enumerate(names):
        points = [(step, metrics[name]) for step, metrics in validations if name in metrics]
        metric.plot(*zip(*points), marker="o", markersize=3, color=f"C{2 + i}", label=name)
    if names:
        metric.legend()
    for axes, title in ((loss, "loss"), (rate, "learning rate"), (metric, "validation")):
        axes.set(title=title, xlabel="update")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    return np.convolve(values, np.ones(width) / width, mode="valid")
