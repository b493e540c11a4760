"""The command line of `python -m engine_build gpu_day`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine
from detector.errors import UserError
from engine_build.gpu_day.child import Settings, command_of
from engine_build.gpu_day.fragment import read_json, write_json
from engine_build.gpu_day.plan import Step, choose_steps, describe, in_one_line, is_there
from engine_build.gpu_day.runner import Day, run_steps
from engine_build.gpu_day.wheels import FOLDER, unpack

REHEARSAL = "a rehearsal on the CPU with tiny networks: not one figure here is a GPU's, or worth anything"
ROOT = Path(__file__).resolve().parents[2]


def create_parser(prog: str = "python -m engine_build gpu_day") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog,
        description="Measure all that this project does on a GPU; results are written after every figure.",
        epilog="rehearse without a GPU: --device cpu --quick",
    )
    cli.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="results (gpu.json)")
    cli.add_argument("--steps", metavar="A,B", help="only these; results of others in the file stay")
    cli.add_argument("--minutes", type=float, default=25.0, metavar="N", help="for all steps together (25)")
    cli.add_argument("--list", action="store_true", help="say what the steps are and what each needs, and end")
    cli.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only with --quick")
    cli.add_argument("--quick", action="store_true", help="tiny networks, few turns: to see that everything runs")
    cli.add_argument("--wheels", type=Path, default=FOLDER, metavar="DIR",
                     help="packages to use where they are missing (make gpu-wheels)")
    cli.add_argument("--shards", default="", metavar="DIR", help="rendered clips to train on")
    return cli


def gpu_day(arguments: list[str], prog: str = "python -m engine_build gpu_day") -> int:
    """Run the command; 1 where a step failed.

    Raises:
        UserError: there is no GPU, or an option is wrong.
    """
    options = create_parser(prog).parse_args(arguments)
    steps = choose_steps(options.steps)
    _check(options)
    with tempfile.TemporaryDirectory(prefix="gpu_day-site-") as site:
        unpacked = unpack(options.wheels, Path(site))
        # Last in the search: what is installed goes before what was brought along.
        sys.path.append(site)
        try:
            return _run(options, steps, site, unpacked)
        finally:
            sys.path.remove(site)


def _run(options: argparse.Namespace, steps: list[Step], site: str, unpacked: list[str]) -> int:
    if options.list:
        print(describe(steps))
        return 0
    gpu_name = _require_device(options.device, steps)
    settings = Settings(options.device, options.quick, str(Path(options.shards).absolute()) if options.shards else "")
    facts = _facts(options, gpu_name, unpacked)
    write_json(options.json, facts)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [
        str(ROOT), os.environ.get("PYTHONPATH", ""), site]))}
    if not is_there("platformdirs") and "SLOWFAST_CACHE" not in environment:
        environment["SLOWFAST_CACHE"] = str(Path(tempfile.gettempdir()) / "slowfast-live")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = run_steps(Day(
            options.json, options.minutes * 60, facts, lambda *given: command_of(settings, given[0].name, *given[1:]),
            environment,
        ), steps)
    finally:
        signal.signal(signal.SIGTERM, before)
    states = {step.name: result["steps"][step.name]["state"] for step in steps}
    print(f"wrote {options.json}: " + ", ".join(f"{name} {state}" for name, state in states.items()))
    return 1 if set(states.values()) & {"failed", "timed out"} else 0


def _check(options: argparse.Namespace) -> None:
    if options.device == "cpu" and not options.quick:
        raise UserError("--device cpu: is for rehearsals alone; run with --device cpu --quick")
    if not 0 < options.minutes <= 24 * 60:
        raise UserError(f"--minutes: got {options.minutes:g}, expected more than 0 and at most a day")
    if not options.json.absolute().parent.is_dir():
        raise UserError(f"--json: got {options.json}, whose folder does not exist")
    if options.shards and not Path(options.shards).is_dir():
        raise UserError(f"--shards: got {options.shards}, which is no folder")


def _require_device(device: str, steps: list[Step]) -> str:
    """The GPU's name, "" in a rehearsal."""
    if device == "cpu":
        return ""
    why = "torch is not installed"
    if is_there("torch"):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
        why = "torch sees none (look at: nvidia-smi)" if torch.version.cuda else "torch is built without CUDA"
    raise UserError(
        f"gpu_day needs an NVIDIA GPU, and {why}; rehearse with --device cpu --quick; "
        f"the steps need, beside the GPU: {in_one_line(steps)}"
    )


def _facts(options: argparse.Namespace, gpu_name: str, unpacked: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "command": "python -m engine_build gpu_day", "rehearsal": options.device == "cpu" or options.quick,
        "gpu": gpu_name, "started": datetime.now(UTC).isoformat(timespec="seconds"), "minutes": options.minutes,
        "brought_along": unpacked, "steps": {},
    }
    if options.device == "cpu":
        facts["note"] = REHEARSAL
    elif options.quick:
        facts["note"] = "quick: tiny networks and few turns; only that it runs means something"
    if options.steps:
        # Of another machine, or of a rehearsal, nothing is kept.
        earlier = read_json(options.json)
        if (earlier.get("gpu"), earlier.get("rehearsal")) == (gpu_name, facts["rehearsal"]):
            facts["steps"] = earlier.get("steps", {})
    return facts


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
