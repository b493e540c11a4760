"""Runs steps, each in a process of its own, and keeps what they found whatever happens.

A step that crashes takes CUDA's context with it and nothing else; one that hangs is ended at its limit. The result
file is written anew, whole, while a step runs and after it. Knows nothing of GPUs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_build.gpu_day.fragment import read_json, write_json
from engine_build.gpu_day.plan import Step, is_there, why_left_out

# How often a running step's figures are brought to the result file.
MERGE_EVERY_S = 1.0
# From the polite signal to the other one.
GRACE_S = 5.0
# Lines of a failed step's output that are kept.
KEPT_LINES = 25
# Less than this is not worth starting a process for.
SHORTEST_S = 3.0

Report = Callable[[str], object]
# (step, fragment's path, seconds it has) → what to run.
CommandOf = Callable[[Step, Path, float], list[str]]


@dataclass
class Day:
    """What to run and where the results go.

    Attributes:
        json_path: the result file.
        total_s: for all steps together.
        facts: of the whole run; in the file beside `steps`.
        command_of: starts a step.
        environment: of the steps' processes.
        there: whether a package can be imported.
        report: takes lines.
        clock: monotonic seconds.
    """

    json_path: Path
    total_s: float
    facts: dict[str, Any]
    command_of: CommandOf
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    there: Callable[[str], bool] = is_there
    report: Report = print
    clock: Callable[[], float] = time.monotonic


def run_steps(day: Day, steps: Sequence[Step]) -> dict[str, Any]:
    """Run the steps in order.

    Returns:
        What is in the result file: the facts, and under `steps` for each a `state` (`done`, `failed`, `timed out`,
        `left out`, `stopped`), its `seconds`, `why` where it is not done, and its figures, however far it came.

    Raises:
        KeyboardInterrupt: asked to stop; the file holds what there was.
    """
    result = {**day.facts, "steps": dict(day.facts.get("steps", {}))}
    end_s = day.clock() + day.total_s
    for number, step in enumerate(steps):
        later = steps[number + 1 :]
        reserve_s = sum(s.reserve_s for s in later if not why_left_out(s, day.there))
        seconds = min(step.limit_s, end_s - day.clock() - reserve_s)
        why = why_left_out(step, day.there)
        if not why and seconds < SHORTEST_S:
            why = f"of {day.total_s:.0f} s for all steps nothing is left; run it alone: --steps {step.name}"
        if why:
            _note(day, result, step, {"state": "left out", "why": why})
            day.report(f"{step.name}: left out: {why}")
            continue
        day.report(f"{step.name}: {step.about} (at most {seconds:.0f} s)")
        entry = _run_step(day, result, step, seconds)
        because = f": {entry['why']}" if entry.get("why") else ""
        day.report(f"{step.name}: {entry['state']} after {entry['seconds']:.0f} s{because}")
    return result


def _note(day: Day, result: dict[str, Any], step: Step, entry: dict[str, Any]) -> None:
    result["steps"][step.name] = entry
    write_json(day.json_path, result)


def _run_step(day: Day, result: dict[str, Any], step: Step, seconds: float) -> dict[str, Any]:
    start_s = day.clock()
    output: deque[str] = deque(maxlen=KEPT_LINES)
    with tempfile.TemporaryDirectory(prefix="gpu_day-") as folder:
        fragment = Path(folder) / "figures.json"

        def entry(state: str, why: str = "") -> dict[str, Any]:
            facts = {"state": state, "seconds": round(day.clock() - start_s, 1), **({"why": why} if why else {})}
            tail = {"output": list(output)} if state in ("failed", "timed out") else {}
            return {**facts, **read_json(fragment), **tail}

        child = subprocess.Popen(
            day.command_of(step, fragment, seconds), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", env=day.environment, start_new_session=True,
        )
        reader = threading.Thread(target=_pass_on, args=(child, output, day.report), daemon=True)
        reader.start()
        try:
            in_time = _wait(day, child, start_s + seconds, lambda: _note(day, result, step, entry("running")))
        except BaseException:
            _end(child)
            _note(day, result, step, entry("stopped", "interrupted"))
            raise
        _end(child)  # what it started may outlive it
        reader.join(GRACE_S)
        if not in_time:
            found = entry("timed out", f"stopped at its limit of {seconds:.0f} s")
        elif child.returncode:
            found = entry("failed", _reason(child.returncode, output))
        else:
            found = entry("done")
        _note(day, result, step, found)
        return found


def _wait(day: Day, child: subprocess.Popen, until_s: float, merge: Callable[[], None]) -> bool:
    """Wait for a process to end, merging its figures meanwhile; False if it did not end in time."""
    while True:
        left_s = until_s - day.clock()
        try:
            child.wait(max(min(MERGE_EVERY_S, left_s), 0.0))
        except subprocess.TimeoutExpired:
            if left_s <= 0:
                return False
            merge()
        else:
            return True


def _end(child: subprocess.Popen) -> None:
    """End a process and all that it started: with a signal that can be caught, then with the other one."""
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    child.wait(GRACE_S)


def _pass_on(child: subprocess.Popen, output: deque[str], report: Report) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        text = line.rstrip("\n")
        output.append(text)
        report(f"  {text}")
    child.stdout.close()


def _reason(code: int, output: deque[str]) -> str:
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}"
    lines = [line for line in output if line.strip()]
    return lines[-1][:300] if lines else f"exit code {code}"
