"""The process of one step: `python -m engine_build.gpu_day.child STEP FIGURES SECONDS OPTIONS`; for `runner.py`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.errors import run_command
from engine_build.gpu_day.fragment import Fragment
from engine_build.gpu_day.plan import STEPS


@dataclass(frozen=True)
class Settings:
    """What all steps are told.

    Attributes:
        device: `cuda`, or `cpu` for a rehearsal.
        quick: tiny networks and few turns, for a rehearsal.
        shards: folder of rendered clips to train on; drawn ones where "".
    """

    device: str = "cuda"
    quick: bool = False
    shards: str = ""

    def to_json(self) -> str:
        """For the command line of a step."""
        return json.dumps(asdict(self))


class Context:
    """What a step is given: its settings, its time, and where its figures go."""

    def __init__(self, settings: Settings, fragment: Fragment, seconds: float) -> None:
        self.settings, self._fragment = settings, fragment
        self.device, self.quick = settings.device, settings.quick
        self._end_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds until this step is stopped."""
        return self._end_s - time.monotonic()

    @property
    def figures(self) -> dict[str, Any]:
        """What was kept so far."""
        return self._fragment.content

    def put(self, *names_and_value: Any) -> None:
        """Keep a figure; see `Fragment.put`."""
        self._fragment.put(*names_and_value)

    def report(self, line: str) -> None:
        """Show a line."""
        print(line, flush=True)


def command_of(settings: Settings, name: str, fragment: Path, seconds: float) -> list[str]:
    """What to run for a step."""
    return [sys.executable, "-u", "-m", "engine_build.gpu_day.child", name, str(fragment), f"{seconds:.1f}",
            settings.to_json()]


def _on_one_thread() -> None:
    """Tiny networks spend their time waiting for a second thread, above all on a busy machine."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


def main() -> int:
    """Do one step."""
    name, fragment, seconds, settings = sys.argv[1:]
    step = next(step for step in STEPS if step.name == name)
    module, function = step.function.split(":")
    context = Context(Settings(**json.loads(settings)), Fragment(Path(fragment)), float(seconds))
    if context.quick and context.device == "cpu":
        _on_one_thread()
    getattr(importlib.import_module(module), function)(context, *step.arguments)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
