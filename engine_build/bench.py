"""Every engine of this machine against torch eager fp32, in one table and one JSON file.

The yardstick is PyPI's pytorchvideo and its own SlowFast R50 8x8 detection network, uint8 frames in and scores out,
32 frames of 256x340 and 2 boxes. Engines and yardstick take turns, so that a machine that slows down slows all of
them; medians of all turns are compared.
"""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from detector.types import Clip
from detector.weights.records import ActionModel
from engine_build import targets
from engine_build.build import build_engine
from engine_build.cache import EngineCache
from engine_build.clips import drawn_clips, engine_input, fit_clip
from engine_build.engine import Engine
from engine_build.libraries import cpu_core, has
from engine_build.manifest import Manifest, read_manifest

SIZE_HW = (256, 340)
BOXES = np.array([[0, 60.0, 40.0, 150.0, 240.0], [0, 180.0, 60.0, 260.0, 230.0]], np.float32)
# GPU batches that are timed besides one clip.
GPU_BATCH = 8


class Turn(NamedTuple):
    """One run: seconds on the clock, and of all cores together, which other programs disturb less."""

    wall_s: float
    cpu_s: float


class Yardstick(nn.Module):
    """pytorchvideo's network in eager torch, from uint8 frames to scores."""

    def __init__(self, slow_indices: list[int]) -> None:
        super().__init__()
        try:
            from pytorchvideo.models.hub.slowfast import slowfast_r50_detection
        except ImportError:
            raise UserError("the benchmark's yardstick is missing; run: pip install pytorchvideo") from None
        self.network = slowfast_r50_detection(pretrained=False).eval()
        self.slow_indices = slow_indices

    def forward(self, frames: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 and rois (K, 5) → scores (K, 80)."""
        x = ((frames.permute(0, 4, 1, 2, 3).float() / 255 - 0.45) / 0.225).to(rois.dtype)
        return self.network([x[:, :, self.slow_indices], x], rois)


def run_bench(
    model: ActionModel, network: ActionNetwork, *, pairs: int, json_path: Path | None, cache_dir: Path | None,
    clips: Sequence[Clip] | None, report: Callable[[str], object] = print, profile: bool = True,
) -> dict[str, Any]:
    """Time all engines and print the table.

    Args:
        model, network: what the engines are built from.
        pairs: turns of each engine; their medians are compared.
        json_path: the same figures as JSON, where given.
        cache_dir: of engines.
        clips: what int8 is calibrated on and everything is verified on; drawn ones where None.
        report: takes lines.
        profile: layer groups and matrix peaks too.
    """
    given = list(clips or drawn_clips(model, SIZE_HW))
    frames, _ = engine_input(model, fit_clip(model, given[0], SIZE_HW), SIZE_HW)
    engines = _engines(model, network, cache_dir, given, report)
    yardstick = Yardstick(model.network.slow_indices)
    report(f"timing {len(engines)} engines, {pairs} turns each")
    times = _take_turns(yardstick, engines, frames, pairs)
    rows = speed_rows(times)
    result = {
        "command": "python -m engine_build bench", "model": model.name,
        "frames": list(frames.shape), "boxes": len(BOXES),
        "pairs": pairs, "machine": describe_machine(), "clips": "real" if clips else "drawn", "engines": rows,
        "verify": _manifests(cache_dir, model.name),
    }
    report(format_table(rows))
    for engine in engines.values():
        engine.close()
    if profile and "openvino fp32" in engines:
        result.update(_profiles(model, cache_dir, engines, rows, report))
    if torch.cuda.is_available():
        result["gpu"] = _gpu(engines, frames, report)
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1), encoding="utf-8")
        report(f"wrote {json_path}")
    return result


def _engines(
    model: ActionModel, network: ActionNetwork, cache_dir: Path | None, clips: list[Clip], report: Callable
) -> dict[str, Engine]:
    wanted = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8")]
    if torch.cuda.is_available():
        wanted += [(t, p) for t in targets.NEEDS_GPU for p in ("fp32", "fp16", "int8") if p in targets.PRECISIONS[t]]
    engines: dict[str, Engine] = {}
    for target, precision in wanted:
        if precision == "bf16" and not targets.cpu_has_bf16():
            report(f"left out: {target} bf16: this CPU does not multiply it")
            continue
        try:
            engine = build_engine(
                model, network, size_hw=SIZE_HW, target=target, precision=precision,  # type: ignore[arg-type]
                report=report, cache_dir=cache_dir, calibration=clips,
            )
        except UserError as error:
            report(f"left out: {target} {precision}: {error}")
            continue
        engines[engine.description] = engine
    return engines


def _take_turns(
    yardstick: Yardstick, engines: dict[str, Engine], frames: np.ndarray, turns: int
) -> dict[str, list[Turn]]:
    def run_yardstick() -> None:
        with torch.inference_mode():
            yardstick(torch.from_numpy(frames), torch.from_numpy(BOXES))

    contestants: dict[str, Callable[[], object]] = {"pytorchvideo eager fp32": run_yardstick}
    for name, engine in engines.items():
        contestants[name] = partial(_run, engine, frames)
    times: dict[str, list[Turn]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, run in contestants.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first one warms up
                times[name].append(Turn(time.perf_counter() - start, time.process_time() - cpu_start))
    return times


def _run(engine: Engine, frames: np.ndarray) -> np.ndarray:
    return engine.run_head(engine.run_trunk(frames), BOXES)


def speed_rows(times: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """Medians of all turns, and how many times as fast as the first contestant each was in the same turns."""
    yardstick = next(iter(times.values()))
    rows = []
    for name, turns in times.items():
        pairs = list(zip(yardstick, turns))
        rows.append({
            "engine": name,
            "median_s": round(statistics.median(t.wall_s for t in turns), 4),
            "min_s": round(min(t.wall_s for t in turns), 4),
            # Each turn against the yardstick of the same turn.
            "speedup": round(statistics.median(y.wall_s / t.wall_s for y, t in pairs), 2),
            "cpu_median_s": round(statistics.median(t.cpu_s for t in turns), 4),
            "cpu_speedup": round(statistics.median(y.cpu_s / t.cpu_s for y, t in pairs), 2),
            "seconds": [round(t.wall_s, 4) for t in turns],
        })
    return rows


def format_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for people."""
    titles = ("engine", "s/clip median", "min", "times faster", "CPU s", "times less")
    lines = ["{:38s} {:>13s} {:>7s} {:>12s} {:>7s} {:>10s}".format(*titles)]
    for row in rows:
        lines.append(
            f"{row['engine']:38s} {row['median_s']:13.3f} {row['min_s']:7.3f} {row['speedup']:12.2f} "
            f"{row['cpu_median_s']:7.3f} {row['cpu_speedup']:10.2f}"
        )
    return "\n".join(lines)


def _profiles(
    model: ActionModel, cache_dir: Path | None, engines: dict[str, Engine], rows: list[dict[str, Any]], report: Callable
) -> dict[str, Any]:
    from engine_build.peak import measure_peak
    from engine_build.profile import profile_trunk
    from engine_build.run_openvino import FILE

    peaks, groups, shares = {}, {}, {}
    clip_shape = (model.network.num_frames, *SIZE_HW, 3)
    for folder, manifest in _stored(cache_dir, model.name):
        precision = manifest.key.precision
        if manifest.key.target != "openvino" or f"openvino {precision}" not in engines:
            continue
        if manifest.key.shape != clip_shape or precision in groups:
            continue
        peaks[precision] = round(measure_peak(precision), 1)
        found = profile_trunk(folder / FILE, clip_shape, precision)
        groups[precision] = [{**asdict(g), "gmacs_per_s": round(g.gmacs_per_s, 1)} for g in found]
        total = sum(g.gmacs for g in found)
        fastest = next(row["min_s"] for row in rows if row["engine"] == f"openvino {precision}")
        shares[precision] = round(total / fastest / peaks[precision], 3)
        report(f"\nopenvino {precision}: {total:.1f} GMAC a clip, {total / fastest:.0f} GMAC/s of a measured peak of "
               f"{peaks[precision]:.0f} ({shares[precision]:.0%})")
        report("\n".join(f"  {g.name:28s} {g.ms:7.1f} ms {g.gmacs_per_s:7.0f} GMAC/s" for g in found))
    return {"peak_gmacs_per_s": peaks, "share_of_peak": shares, "layer_groups": groups}


def _gpu(engines: dict[str, Engine], frames: np.ndarray, report: Callable) -> dict[str, Any]:
    """Clips a second and latency percentiles of the GPU engines at batch 1 and `GPU_BATCH`."""
    figures: dict[str, Any] = {}
    for name, engine in engines.items():
        if not any(target in name for target in ("cuda", "tensorrt")):
            continue
        for batch in (1, GPU_BATCH):
            many = np.repeat(frames, batch, axis=0)
            seconds = []
            for _ in range(60):
                start = time.perf_counter()
                engine.run_head(engine.run_trunk(many), BOXES)
                seconds.append(time.perf_counter() - start)
            p50, p99 = np.percentile(seconds[10:], [50, 99])
            figures[f"{name} batch {batch}"] = {
                "clips_per_s": round(batch / p50, 1), "p50_ms": round(p50 * 1e3, 2), "p99_ms": round(p99 * 1e3, 2)
            }
            report(f"{name} batch {batch}: {batch / p50:.1f} clips/s, p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")
    return figures


def describe_machine() -> dict[str, Any]:
    """What figures depend on, in general words."""
    machine = {
        "cpu_cores": torch.get_num_threads(), "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(), "torch": torch.__version__,
        "openvino": targets.library_version("openvino"),
    }
    if has("openvino"):
        machine["openvino_capabilities"] = cpu_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if torch.cuda.is_available():
        machine["gpu"] = targets.device_name("torch_cuda")
    return machine


def _stored(cache_dir: Path | None, model: str) -> list[tuple[Path, Manifest]]:
    found = []
    for path in sorted(EngineCache(cache_dir).folder.glob("*/manifest.json")):
        with contextlib.suppress(ValueError):  # one that cannot be read is built again when it is wanted
            manifest = read_manifest(path)
            if manifest.key.model == model:
                found.append((path.parent, manifest))
    return found


def _manifests(cache_dir: Path | None, model: str) -> dict[str, Any]:
    facts = {}
    for _, manifest in _stored(cache_dir, model):
        size_mb = sum(f["bytes"] for f in manifest.files.values()) / 2**20
        facts[f"{manifest.key.target} {manifest.key.precision}"] = {
            "build_s": manifest.build_s, "size_mb": round(size_mb, 1), **manifest.verify,
        }
    return facts
