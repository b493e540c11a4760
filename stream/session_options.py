"""The options of every command that opens a session: the same names, the same words, the same checks.

Nothing here imports torch: a slip of the pen is told at once, before anything large is loaded.
"""

from __future__ import annotations

import argparse
from typing import Any

from detector.command_line import check_share, one_of
from detector.errors import UserError, perhaps


def add_session_options(group: Any, *, many_models: bool = False) -> None:
    """Add `--model`, `--detector`, `--engine`, `--precision`, `--device`, `--person-threshold`, `--cache-dir`,
    `--untrained`.

    Args:
        group: of options, or a parser.
        many_models: `--model` may be given several times and has no default.
    """
    more: dict[str, Any] = {"action": "append"} if many_models else {"default": "auto"}
    words = "action model: a name or a weights file" + ("; repeatable (all that are here)" if many_models else "")
    group.add_argument("--model", "--weights", metavar="M", help=words, **more)
    if not many_models:
        group.add_argument("--causal", action="store_true", help="look back only: no look-ahead, frames computed once")
    group.add_argument("--detector", default="auto", metavar="D", help="person detector: a name or a .pth file")
    group.add_argument("--engine", default="auto", metavar="E", help="openvino, torch, tensorrt, ...")
    group.add_argument("--precision", default="auto", metavar="P", help="fp32, fp16, bf16 or int8")
    group.add_argument("--device", default="auto", metavar="D", help="of the person detector: cpu or cuda")
    group.add_argument("--person-threshold", type=float, metavar="X", help="surety that a box is a person, 0 to 1")
    group.add_argument("--cache-dir", metavar="DIR", help="where built engines are kept (beside the weights)")
    group.add_argument("--untrained", action="store_true", help="allow random action weights, marked as such")


def check_session_options(args: argparse.Namespace) -> None:
    """Find what is mistyped in them without loading anything.

    Raises:
        UserError: no such engine, precision, device, detector, model or file, or a threshold outside 0..1.
    """
    from detector.person.select import check_detector_name
    from detector.weights.choose import check_model_name
    from engine_build.targets import NEEDS_GPU, PRECISIONS, TARGETS, choose_target

    check_share("--person-threshold", getattr(args, "person_threshold", None))
    check_name("--engine", args.engine, ("auto", *TARGETS))
    precisions = sorted({p for known in PRECISIONS.values() for p in known})
    check_name("--precision", args.precision, ("auto", *PRECISIONS.get(args.engine, precisions)))
    device = getattr(args, "device", "auto")
    if device not in ("auto", "cpu", "cuda") and not (device.startswith("cuda:") and device[5:].isdigit()):
        raise UserError(f"--device {device}: unknown, expected auto, cpu, cuda or cuda:N")
    if args.engine in NEEDS_GPU:
        choose_target(args.engine)  # says what is missing; this one has to ask torch
    check_detector_name(args.detector)
    for model in [args.model] if isinstance(args.model, str) else args.model or []:
        check_model_name(model, args.untrained)


def check_name(option: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        UserError: it is not; the line names the nearest and all.
    """
    if name not in known:
        raise UserError(f"{option} {name}: unknown, expected {one_of(known)}{perhaps(name, known)}")
