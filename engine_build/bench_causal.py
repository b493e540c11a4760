"""Causal engines against pytorchvideo's clip network, for each answer: 1, 4 and 8 cameras in a batch.

The yardstick runs a whole clip for each answer, as `bench.py` has it; a causal engine runs one step of each camera. All
take turns, so that a machine that slows down slows all of them; medians of all turns are compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.causal import receptive_field
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.cost import count_cost
from detector.slowfast.network import ActionNetwork
from detector.weights.records import ActionModel
from engine_build import targets
from engine_build.bench import BOXES, SIZE_HW, Turn, Yardstick, describe_machine, format_table, speed_rows
from engine_build.build_causal import build_causal_engine
from engine_build.causal_engine import CausalEngine
from engine_build.footage import drawn_footage, steps_of

CAMERAS = (1, 4, 8)
WANTED = (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
# Footage that is drawn where none was given: what int8's ranges come from needs more than the verification.
DRAWN_STEPS = 32
# Of the yardstick, which is 8x8 whatever is compared with it.
CLIP_FRAMES = SlowFastConfig().num_frames


def run_causal_bench(
    model: ActionModel, network: ActionNetwork, *, pairs: int, json_path: Path | None, cache_dir: Path | None,
    footage: np.ndarray | None, report: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Time all causal engines and print the table.

    Args:
        model, network: causal; what the engines are built from.
        pairs: turns of each; their medians are compared.
        json_path: the same figures as JSON, where given.
        cache_dir: of engines.
        footage: what int8 is calibrated on and everything is verified on; drawn where None.
        report: takes lines.
    """
    config = network.config
    seen = drawn_footage(model, SIZE_HW, DRAWN_STEPS) if footage is None else footage
    engines = _engines(model, network, cache_dir, seen, footage is None, report)
    report(f"timing {len(engines)} engines, {pairs} turns each, {CAMERAS} cameras")
    times = _take_turns(Yardstick(SlowFastConfig().slow_indices), engines, seen, pairs, config.frames_per_step)
    rows = [
        {**row, "cameras": count, "per_answer_s": round(row["median_s"] / count, 4)}
        for row, count in zip(speed_rows(times), [1, *[count for _ in engines for count in CAMERAS]], strict=True)
    ]
    for row in rows:
        row["speedup_per_answer"] = round(row["speedup"] * row["cameras"], 2)
    states = next(iter(engines.values())).states
    result = {
        "command": "python -m engine_build bench --causal", "model": model.name, "frames": list(SIZE_HW),
        "boxes": len(BOXES), "pairs": pairs, "machine": describe_machine(),
        "footage": "real" if footage is not None else "drawn",
        "gmacs_per_answer": round(count_cost(config).gflops / config.window_steps, 2),
        "gmacs_per_clip": round(count_cost(config).gflops, 2),
        "receptive_field_frames": receptive_field(config),
        "state": {
            "bytes_per_camera": states.bytes_per_camera, "bytes_per_step": states.bytes_per_step,
            "copied_bytes": {name: engine.states.copied_bytes for name, engine in engines.items()},
        },
        "engines": rows,
    }
    report(format_table(rows))
    report("\n".join(_answer_lines(rows)))
    report(f"state: {states.bytes_per_camera / 1e6:.1f} MB a camera, {states.bytes_per_step / 1e6:.1f} MB read and "
           "written a step")
    for engine in engines.values():
        engine.close()
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1), encoding="utf-8")
        report(f"wrote {json_path}")
    return result


def _engines(
    model: ActionModel, network: ActionNetwork, cache_dir: Path | None, footage: np.ndarray, drawn: bool,
    report: Callable,
) -> dict[str, CausalEngine]:
    wanted = list(WANTED)
    if torch.cuda.is_available():
        wanted += [("torch_cuda", "fp32"), ("torch_cuda", "fp16")]
    engines: dict[str, CausalEngine] = {}
    for target, precision in wanted:
        if precision == "bf16" and not targets.cpu_has_bf16():
            report(f"left out: causal {target} bf16: this CPU does not multiply it")
            continue
        try:
            engine = build_causal_engine(
                model, network, size_hw=SIZE_HW, target=target, precision=precision,  # type: ignore[arg-type]
                report=report, cache_dir=cache_dir, footage=footage, drawn=drawn,
            )
        except UserError as error:
            report(f"left out: causal {target} {precision}: {error}")
            continue
        engines[engine.description] = engine
    return engines


def _take_turns(
    yardstick: Yardstick, engines: dict[str, CausalEngine], footage: np.ndarray, turns: int, frames_per_step: int
) -> dict[str, list[Turn]]:
    clip = torch.from_numpy(footage[None, : CLIP_FRAMES].copy())
    new = list(steps_of(footage, frames_per_step))

    def run_yardstick(turn: int) -> None:
        with torch.inference_mode():
            yardstick(clip, torch.from_numpy(BOXES))

    contestants: dict[str, Callable[[int], object]] = {"pytorchvideo eager fp32, a clip": run_yardstick}
    for name, engine in engines.items():
        for count in CAMERAS:
            contestants[name if count == 1 else f"{name}, {count} cameras"] = _stepping(engine, count, new)
    times: dict[str, list[Turn]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, run in contestants.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            run(turn)
            if turn:  # the first one warms up
                times[name].append(Turn(time.perf_counter() - start, time.process_time() - cpu_start))
    return times


def _stepping(engine: CausalEngine, cameras: int, new: list[np.ndarray]) -> Callable[[int], object]:
    """A step of that many cameras, whose rows are opened once: frames in, scores of two boxes in each out."""
    rows = [engine.open_camera() for _ in range(cameras)]
    rois = np.concatenate([BOXES + np.array([camera, 0, 0, 0, 0], np.float32) for camera in range(cameras)])

    def run(turn: int) -> np.ndarray:
        frames = np.repeat(new[turn % len(new)], cameras, axis=0)
        return engine.run_head(engine.run_step(frames, rows), rois)

    return run


def _answer_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of several cameras, for each answer."""
    return [
        f"{row['engine']:38s} {row['per_answer_s']:7.3f} s an answer, {row['speedup_per_answer']:6.1f} times faster"
        for row in rows if row["cameras"] > 1
    ]

