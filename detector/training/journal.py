"""What a run leaves to look at: log.jsonl, TensorBoard scalars, curves as PNG, a progress bar.

log.jsonl has one JSON object a line: `{"step": …, "loss": …, "rate": …}` and, at validations,
`{"step": …, "validation": {"mAP": …}}`. Only the first process keeps one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


class Journal:
    """The log of one run.

    Args:
        folder: of the run; None keeps nothing (other processes).
        step: the update that a resumed run goes on from; lines of later ones are dropped.
        total_steps: for the progress bar.
        progress: show a bar (on a terminal) or a line every half minute (elsewhere).
    """

    def __init__(self, folder: Path | None, step: int, total_steps: int, progress: bool):
        self.folder, self.step = folder, step
        self._board: Any = None
        self.bar = _open_bar(step, total_steps) if progress and folder is not None else None
        if folder is not None:
            kept = [line for line in read_log(folder) if line["step"] <= step]
            (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            self._board = _open_board(folder, step)

    def update(self, step: int, loss: float, rate: float) -> None:
        """Move the bar to that many finished updates."""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix_str(f"loss {loss:.4f}, rate {rate:.3g}", refresh=False)

    def log(self, step: int, **scalars: float) -> None:
        """Keep scalars of an update."""
        self._write({"step": step, **scalars})
        self._draw("train", scalars, step)

    def log_validation(self, step: int, metrics: dict[str, float], note: str) -> None:
        """Keep and show the figures of a validation, and draw the curves anew."""
        self._write({"step": step, "validation": metrics})
        self._draw("validation", metrics, step)
        if self.folder is not None:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            self.say(f"step {step}: {figures}{note}")
            draw_curves_of(self.folder)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Close the bar and the board and draw the curves a last time."""
        if self.bar is not None:
            self.bar.close()
        if self._board is not None:
            self._board.close()
        if self.folder is not None:
            draw_curves_of(self.folder)

    def _write(self, line: dict[str, Any]) -> None:
        if self.folder is not None:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _draw(self, group: str, scalars: dict[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in scalars.items():
                self._board.add_scalar(f"{group}/{name}", value, step)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, oldest first; a last line that was cut by a kill is left out."""
    path = folder / "log.jsonl"
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines


def draw_curves_of(folder: Path) -> None:
    """Draw loss, rate and validation figures into curves.png; does nothing without matplotlib."""
    try:
        from detector.training.plots import draw_curves
    except ImportError:
        return
    draw_curves(read_log(folder), folder / "curves.png")


def _open_bar(step: int, total_steps: int) -> Any:
    # Runs without a bar do without the package.
    from tqdm import tqdm

    return tqdm(
        total=total_steps, initial=step, unit="step", mininterval=0.2 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
    )


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
