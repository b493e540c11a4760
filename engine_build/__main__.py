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

from detector.errors import UserError, run_command

CALIBRATION_CLIPS = 8
BENCH_CLIPS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["bench"]:
        return _bench(_bench_parser().parse_args(arguments[1:]))
    if arguments[:1] == ["gpu_day"]:
        from engine_build.gpu_day.command import gpu_day

        return gpu_day(arguments[1:])
    return _build(_build_parser().parse_args(arguments))


def _build_parser() -> argparse.ArgumentParser:
    from engine_build.targets import TARGETS

    parser = argparse.ArgumentParser(
        prog="python -m engine_build", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Turn an action model into the fastest engine of this machine, verified and cached.",
        epilog="compare every engine of this machine:\n  python -m engine_build bench --json bench.json\n"
        "measure all that a GPU can do:\n  python -m engine_build gpu_day --json gpu.json",
    )
    _common(parser)
    parser.add_argument("--target", default="auto", metavar="NAME", help=f"auto, {', '.join(TARGETS)}")
    parser.add_argument("--precision", default="auto", metavar="P", help="auto, fp32, bf16, fp16 or int8")
    parser.add_argument("--size", default=None, metavar="HxW", help="frames the engine will see (default: 16:9)")
    return parser


def _bench_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine_build bench", description="Compare every engine of this machine with torch eager fp32.",
    )
    _common(parser)
    parser.set_defaults(model="slowfast_8x8_r50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="turns of each engine (default 7)")
    parser.add_argument("--no-profile", action="store_true", help="leave out layer groups and matrix peaks")
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="auto", metavar="NAME", help="a name of `python -m detector.weights list`, "
                        "bundled, or a weights file (default: the best that is here)")
    parser.add_argument("--calibrate", metavar="VIDEO", help="clips for int8's ranges and for verification: best, "
                        "minutes of your own camera")
    parser.add_argument("--untrained", action="store_true", help="random weights where there are none: for speed alone")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="where engines are kept")


def _model(options: argparse.Namespace) -> tuple[Any, Any]:
    from detector.weights import load_action_model, resolve_action_model
    from engine_build.untrained import settle_statistics

    model, path = resolve_action_model(options.model, allow_untrained=options.untrained)
    network = load_action_model(model, path)
    if path is None:
        settle_statistics(model, network)
        print("random weights: figures of speed hold, scores and int8's accuracy mean nothing")
    return model, network


def _build(options: argparse.Namespace) -> int:
    from engine_build.build import build_engine
    from engine_build.clips import drawn_clips, engine_input, fit_clip, read_clips
    from engine_build.targets import choose_precision, choose_target

    choose_precision(choose_target(options.target), options.precision)  # a mistake here need not wait for weights
    model, network = _model(options)
    size_hw = parse_size(options.size, model)
    clips = None
    if options.calibrate:
        clips = read_clips(options.calibrate, model, size_hw, CALIBRATION_CLIPS)
        print(f"{len(clips)} clips of {options.calibrate}")
    engine = build_engine(
        model, network, size_hw=size_hw, target=options.target, precision=options.precision,
        cache_dir=options.cache_dir, calibration=clips,
    )
    clip = (clips or drawn_clips(model, size_hw, 1))[0]
    frames, rois = engine_input(model, fit_clip(model, clip, size_hw), size_hw)
    engine_s, torch_s = time_pairs(engine, network, frames, rois, 3)
    gain = f"{torch_s / engine_s:.1f} times faster"
    print(f"{engine.description}: {engine_s:.3f} s a clip, torch eager fp32 {torch_s:.3f} s: {gain}")
    engine.close()
    return 0


def _bench(options: argparse.Namespace) -> int:
    from engine_build.bench import SIZE_HW, run_bench
    from engine_build.clips import read_clips

    if options.pairs < 1:
        raise UserError(f"--pairs: got {options.pairs}, expected at least 1")
    if options.json is not None and not options.json.parent.is_dir():
        raise UserError(f"--json: got {options.json}, whose folder does not exist")
    options.untrained = True
    model, network = _model(options)
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
