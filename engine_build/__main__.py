"""`python -m engine_build` builds an engine and says what it gained; `python -m engine_build bench` compares them.

`python -m engine_build gpu_day` measures all there is to measure on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine, check_file_to_write
from detector.errors import UserError, run_command

PROG = "python -m engine_build"
CALIBRATION_CLIPS = 8
BENCH_CLIPS = 3
STEPS_TIMED = 6


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["bench"]:
        return _bench(bench_parser(f"{prog} bench").parse_args(arguments[1:]))
    if arguments[:1] == ["gpu_day"]:
        from engine_build.gpu_day.command import gpu_day

        return gpu_day(arguments[1:], f"{prog} gpu_day")
    if arguments and not arguments[0].startswith("-"):
        raise UserError(f"{arguments[0]}: unknown here; perhaps bench, or --model {arguments[0]}? ({prog} --help)")
    return _build(build_parser(prog).parse_args(arguments))


def build_parser(prog: str = PROG) -> CommandLine:
    """The options that build an engine."""
    from engine_build.targets import TARGETS

    parser = CommandLine(
        prog, description="Turn an action model into the fastest engine of this machine, verified and cached.",
        epilog="compare every engine of this machine:\n  %(prog)s bench --json bench.json\n"
        "measure all that a GPU can do:\n  %(prog)s gpu_day --json gpu.json",
    )
    _common(parser)
    engine = parser.add_argument("--engine", default="auto", metavar="NAME", help=f"auto, {', '.join(TARGETS)}")
    parser.accept_former(engine, "--target")
    parser.add_argument("--precision", default="auto", metavar="P", help="auto, fp32, bf16, fp16 or int8")
    parser.add_argument("--size", default=None, metavar="HxW", help="frames the engine will see (default: 16:9)")
    return parser


def bench_parser(prog: str = f"{PROG} bench") -> CommandLine:
    """The options that compare engines."""
    parser = CommandLine(prog, description="Compare every engine of this machine with torch eager fp32.")
    _common(parser)
    parser.set_defaults(model="slowfast_8x8_r50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="turns of each engine (default 7)")
    parser.add_argument("--no-profile", action="store_true", help="leave out layer groups and matrix peaks")
    return parser


def _common(parser: CommandLine) -> None:
    parser.add_argument("--model", "--weights", default="auto", metavar="NAME",
                        help="a name of `python -m detector.weights list`, bundled, or a weights file (default: the "
                        "best that is here)")
    parser.add_argument("--calibrate", metavar="VIDEO", help="clips for int8's ranges and for verification: best, "
                        "minutes of your own camera")
    parser.add_argument("--untrained", action="store_true", help="random weights where there are none: for speed alone")
    parser.add_argument("--causal", action="store_true", help="a network that looks back only, run step by step "
                        "(experimental with weights that were trained to look ahead)")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="where engines are kept")


def _model(options: argparse.Namespace) -> tuple[Any, Any]:
    from detector.weights.choose import load_action_model, resolve_action_model
    from engine_build.untrained import settle_statistics

    model, path = resolve_action_model(options.model, allow_untrained=options.untrained)
    model = model.as_causal() if options.causal else model
    network = load_action_model(model, path)
    if path is None:
        settle_statistics(model, network)
        print("random weights: figures of speed hold, scores and int8's accuracy mean nothing")
    return model, network


def _build(options: argparse.Namespace) -> int:
    from engine_build.targets import choose_precision, choose_target

    _check(options)
    choose_precision(choose_target(options.engine), options.precision)  # a mistake here need not wait for weights
    from engine_build.build import build_engine
    from engine_build.clips import drawn_clips, engine_input, fit_clip, read_clips

    model, network = _model(options)
    size_hw = parse_size(options.size, model)
    if model.network.causal:
        return _build_causal(options, model, network, size_hw)
    clips = None
    if options.calibrate:
        clips = read_clips(options.calibrate, model, size_hw, CALIBRATION_CLIPS)
        print(f"{len(clips)} clips of {options.calibrate}")
    engine = build_engine(
        model, network, size_hw=size_hw, target=options.engine, precision=options.precision,
        cache_dir=options.cache_dir, calibration=clips,
    )
    clip = (clips or drawn_clips(model, size_hw, 1))[0]
    frames, rois = engine_input(model, fit_clip(model, clip, size_hw), size_hw)
    engine_s, torch_s = time_pairs(engine, network, frames, rois, 3)
    gain = f"{torch_s / engine_s:.1f} times faster"
    print(f"{engine.description}: {engine_s:.3f} s a clip, torch eager fp32 {torch_s:.3f} s: {gain}")
    engine.close()
    return 0


def _build_causal(options: argparse.Namespace, model: Any, network: Any, size_hw: tuple[int, int]) -> int:
    import torch

    from detector.slowfast.causal import create_state, run_step
    from engine_build.build_causal import build_causal_engine
    from engine_build.footage import MINUTE_S, drawn_footage, read_footage, steps_of

    footage = None
    if options.calibrate:
        footage = read_footage(options.calibrate, model, size_hw, MINUTE_S)
        print(f"{len(footage) * model.sampling.step_s:.0f} s of {options.calibrate}")
    engine = build_causal_engine(
        model, network, size_hw=size_hw, target=options.engine, precision=options.precision,
        cache_dir=options.cache_dir, footage=footage,
    )
    n = network.config.frames_per_step
    new = next(steps_of(drawn_footage(model, size_hw, 1) if footage is None else footage, n))
    row, state = engine.open_camera(), create_state(network, 1, size_hw)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(STEPS_TIMED):
        start = time.perf_counter()
        engine.run_step(new, [row])
        middle = time.perf_counter()
        run_step(network, torch.from_numpy(new.copy()), state)
        times[0].append(middle - start)
        times[1].append(time.perf_counter() - middle)
    engine_s, torch_s = (statistics.median(each[1:]) for each in times)
    print(f"{engine.description}: {engine_s:.3f} s a step of {n} frames ({n * model.sampling.step_s:.3f} s of video), "
          f"torch eager fp32 {torch_s:.3f} s: {torch_s / engine_s:.1f} times faster")
    engine.close()
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be found wrong without loading anything."""
    from detector.weights.choose import check_model_name

    check_model_name(options.model, options.untrained)
    if options.calibrate and not Path(options.calibrate).is_file():
        raise UserError(f"--calibrate {options.calibrate}: no such file, expected a video")
    size = getattr(options, "size", None)
    if size is not None:
        parse_size(size, None)


def _bench(options: argparse.Namespace) -> int:
    if options.pairs < 1:
        raise UserError(f"--pairs: got {options.pairs}, expected at least 1")
    check_file_to_write("--json", options.json)
    if options.json is not None and not options.json.parent.is_dir():
        raise UserError(f"--json: got {options.json}, whose folder does not exist")
    options.untrained = True
    _check(options)
    from engine_build.bench import SIZE_HW, run_bench
    from engine_build.clips import read_clips

    model, network = _model(options)
    if model.network.causal:
        from engine_build.bench_causal import run_causal_bench
        from engine_build.footage import MINUTE_S, read_footage

        footage = read_footage(options.calibrate, model, SIZE_HW, MINUTE_S) if options.calibrate else None
        run_causal_bench(
            model, network, pairs=options.pairs, json_path=options.json, cache_dir=options.cache_dir, footage=footage
        )
        return 0
    clips = read_clips(options.calibrate, model, SIZE_HW, BENCH_CLIPS) if options.calibrate else None
    run_bench(
        model, network, pairs=options.pairs, json_path=options.json, cache_dir=options.cache_dir, clips=clips,
        profile=not options.no_profile,
    )
    return 0


def parse_size(text: str | None, model: Any) -> tuple[int, int]:
    """`HxW` in pixels; where None, a tube's size, or 16:9 frames of the model's short side.

    Raises:
        UserError: not two numbers of at least 32.
    """
    from engine_build.clips import usual_size

    if text is None:
        return usual_size(model)
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) >= 32 for p in parts):
        raise UserError(f"--size: got {text!r}, expected HEIGHTxWIDTH of at least 32 pixels each, such as 256x455")
    return int(parts[0]), int(parts[1])


def time_pairs(engine: Any, network: Any, frames: Any, rois: Any, pairs: int) -> tuple[float, float]:
    """Median seconds of engine and torch eager fp32, in turns, after one each to warm up."""
    import torch

    times: tuple[list[float], list[float]] = ([], [])
    given = torch.from_numpy(frames), torch.from_numpy(rois)
    for _ in range(pairs + 1):
        start = time.perf_counter()
        engine.run_head(engine.run_trunk(frames), rois)
        middle = time.perf_counter()
        with torch.inference_mode():
            network(*given)
        times[0].append(middle - start)
        times[1].append(time.perf_counter() - middle)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


if __name__ == "__main__":
    sys.exit(run_command(main))
