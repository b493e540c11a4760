"""Engines of one action model: is each the same network, how fast at which batch, and how near to the matrix peak.

The yardstick is the network in eager torch: pytorchvideo's, where it is installed and builds the same network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.sampling import Sampling
from detector.slowfast.cost import count_trunk
from detector.slowfast.network import ActionNetwork, create_network
from detector.views import FrameView, TubeView
from detector.weights.choose import load_action_model, resolve_action_model
from detector.weights.records import ActionModel
from engine_build.clips import drawn_clips, engine_input
from engine_build.engine import Engine
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.plan import is_there
from engine_build.gpu_day.timing import (
    busiest_kernels,
    matrix_peaks,
    percentiles_ms,
    time_calls,
    time_on_device,
    wait,
)
from engine_build.run_torch import Mode, TorchEngine
from engine_build.untrained import settle_statistics
from engine_build.verify import verify

SIZE_HW, QUICK_HW = (256, 340), (32, 48)
BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16), (1, 2)
# People in a clip of whole frames.
PEOPLE = np.array([[60.0, 40.0, 150.0, 240.0], [180.0, 60.0, 260.0, 230.0]], np.float32)
# What one more batch of one more engine takes at least; nothing is begun that cannot end.
WORTH_BEGINNING_S = 12.0
MEASURE_S, QUICK_MEASURE_S = 1.5, 0.0


@dataclass(frozen=True)
class Variant:
    """One way to run the network, and at which batches it is measured."""

    precision: str
    mode: Mode
    batches: tuple[int, ...]

    @property
    def name(self) -> str:
        """`bf16 graphs`."""
        return f"{self.precision} {self.mode}"


def plan_variants(quick: bool) -> list[Variant]:
    """Most telling first, because time may run out. A batch of a compiled engine takes a minute to compile."""
    every = QUICK_BATCHES if quick else BATCHES
    ends = QUICK_BATCHES[:1] if quick else (1, 8)
    plan: list[tuple[str, Mode, tuple[int, ...]]] = [
        ("fp32", "plain", every), ("bf16", "graphs", every), ("bf16", "compiled_graphs", ends),
        ("fp16", "graphs", every), ("bf16", "channels_last", every), ("bf16", "plain", ends),
        ("fp16", "compiled_graphs", ends), ("fp32", "graphs", every), ("fp16", "channels_last", ends),
        ("fp32", "channels_last", ends), ("bf16", "compiled", ends), ("fp16", "plain", ends),
        ("bf16", "compiled_graphs", () if quick else (2, 4, 16)),
        ("fp16", "compiled", ends), ("fp32", "compiled_graphs", ends), ("fp32", "compiled", ends),
    ]
    return [Variant(*entry) for entry in plan if entry[2]]


@dataclass
class Subject:
    """The model that is measured: its network in fp32, its clips, and what one costs."""

    model: ActionModel
    network: ActionNetwork
    size_hw: tuple[int, int]
    trained: bool
    gmacs: float
    inputs: list[tuple[np.ndarray, np.ndarray]]

    def batch(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """So many clips, no two alike, and the rows of their people."""
        clips = np.concatenate([frames for frames, _ in self.inputs])
        frames = np.stack([np.roll(clips[i % len(clips)], i // len(clips), axis=1) for i in range(count)])
        if isinstance(self.model.view, TubeView):
            rows = np.concatenate([rows for _, rows in self.inputs])[np.arange(count) % len(clips)].copy()
            rows[:, 0] = np.arange(count)
            return frames, rows
        scale = np.array([self.size_hw[1] / SIZE_HW[1], self.size_hw[0] / SIZE_HW[0]] * 2, np.float32)
        owner = np.repeat(np.arange(count, dtype=np.float32), len(PEOPLE))[:, None]
        return frames, np.hstack([owner, np.tile(PEOPLE * scale, (count, 1))]).astype(np.float32)


def load_subject(name: str, quick: bool) -> Subject:
    """Resolve a model, trained where its weights are here; in a rehearsal a tiny network of the same kind."""
    model, path = resolve_action_model(name, allow_untrained=True)
    if quick:
        small = replace(
            model.network, num_frames=4, alpha=2, width=8, beta_inv=min(model.network.beta_inv, 4), blocks=(1, 1, 1, 1),
            nonlocal_blocks=(0,) if model.network.nonlocal_blocks else (), temporal_blocks_res4=None,
        )
        view = TubeView(32) if isinstance(model.view, TubeView) else FrameView(QUICK_HW[0])
        model, path = replace(model, network=small, view=view, sampling=Sampling(4, 2), weights=None), None
        network = create_network(small, seed=0).eval()
    else:
        network = load_action_model(model, path)
    size_hw = QUICK_HW if quick else SIZE_HW
    if isinstance(model.view, TubeView):
        size_hw = model.view.size_px, model.view.size_px
    if path is None:
        settle_statistics(model, network)
    inputs = [engine_input(model, clip, size_hw) for clip in drawn_clips(model, size_hw)]
    return Subject(model, network, size_hw, path is not None, count_trunk(model.network, size_hw) / 1e9, inputs)


def run(context: Context, name: str) -> None:
    """Measure the yardstick, then each variant while there is time."""
    subject = load_subject(name, context.quick)
    context.put("model", subject.model.name)
    context.put("trained", subject.trained)
    context.put("clip", [subject.model.network.num_frames, *subject.size_hw, 3])
    context.put("gmacs_per_clip", round(subject.gmacs, 3))
    peaks = matrix_peaks(context.device, context.quick)
    context.put("peak_tflops", peaks)
    yardstick_s = measure_yardstick(context, subject)
    left_out: list[str] = []
    best: dict[str, Any] = {}
    for variant in plan_variants(context.quick):
        if context.left_s() < WORTH_BEGINNING_S:
            left_out.append(f"{variant.name} at {', '.join(map(str, variant.batches))}")
            continue
        found = measure_variant(context, subject, variant, peaks)
        for figures in found:
            figures["times_yardstick"] = round(figures["clips_per_s"] * yardstick_s, 2)
            context.put("engines", variant.name, f"batch {figures['batch']}", figures)
            if figures["batch"] in (8, QUICK_BATCHES[-1]) and figures["clips_per_s"] > best.get("clips_per_s", 0.0):
                best = {"engine": variant.name, **figures}
                context.put("best_large_batch", best)
    if left_out:
        context.put("left_out_for_lack_of_time", left_out)
    if best:
        context.put("kernels_of_best", kernels_of(context, subject, best))


def measure_yardstick(context: Context, subject: Subject) -> float:
    """Seconds of one clip in eager fp32, as torch runs it by default; other figures of it are written down."""
    network: Any = subject.network
    name, why = "this project's network, eager", "this network is not in pytorchvideo"
    if subject.model.name == "slowfast_8x8_r50" and not context.quick:
        why = "pytorchvideo is not installed"
        if is_there("pytorchvideo"):
            from engine_build.bench import Yardstick

            name, why, network = "pytorchvideo, eager", "", Yardstick(subject.model.network.slow_indices)
    context.put("yardstick", "network", name)
    if why:
        context.put("yardstick", "why", why)
    seconds: dict[str, float] = {}
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        if precision == "fp16" and context.device == "cpu":
            continue  # a CPU takes minutes for what it has no instructions for
        copied = copy.deepcopy(network).to(context.device, dtype)
        for batch in (1, QUICK_BATCHES[-1] if context.quick else 8):
            run_once = _eager(copied, *subject.batch(batch), context.device, dtype)
            try:
                times_s = time_calls(run_once, context.device, seconds=_seconds(context), least=_least(context))
            except torch.cuda.OutOfMemoryError:
                context.put("yardstick", f"{precision} batch {batch}", {"why": "out of memory"})
                continue
            figures = {**percentiles_ms(times_s), "clips_per_s": round(batch / float(np.median(times_s)), 2)}
            context.put("yardstick", f"{precision} batch {batch}", figures)
            context.report(f"{name} {precision} batch {batch}: {figures['clips_per_s']:.1f} clips/s")
            seconds[f"{precision} {batch}"] = float(np.median(times_s))
        del copied
        _free(context.device)
    if context.device == "cuda":
        context.put("yardstick", "note", "fp32 with TF32 in convolutions, torch's default")
    return seconds["fp32 1"]


def _eager(
    network: Any, frames: np.ndarray, rows: np.ndarray, device: str, dtype: torch.dtype
) -> Callable[[], object]:
    on_device = torch.from_numpy(rows).to(device, dtype)
    host = torch.from_numpy(frames)

    def run_once() -> None:
        with torch.inference_mode():
            network(host.to(device), on_device).cpu()

    return run_once


def measure_variant(
    context: Context, subject: Subject, variant: Variant, peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """Build an engine, compare it with the network, and time it at each batch."""
    engine = TorchEngine(
        subject.network, variant.precision, context.device, variant.mode,
        compiler="eager" if context.quick else "inductor",
    )
    try:
        context.put("engines", variant.name, "verify", compare_with_torch(context, subject, variant, engine))
        found = []
        for batch in variant.batches:
            if context.left_s() < WORTH_BEGINNING_S:
                context.put("engines", variant.name, f"batch {batch}", {"why": "no time left"})
                continue
            try:
                figures = time_engine(context, subject, engine, batch)
            except (UserError, torch.cuda.OutOfMemoryError) as error:
                context.put("engines", variant.name, f"batch {batch}", {"why": str(error).splitlines()[0][:200]})
                _free(context.device)
                continue
            peak = peaks.get(variant.precision)
            if peak:
                done = 2 * subject.gmacs / 1e3  # TFLOP of a clip
                figures["share_of_peak"] = round(figures["trunk_clips_per_s"] * done / peak, 4)
                figures["share_of_peak_whole"] = round(figures["clips_per_s"] * done / peak, 4)
            context.report(f"{variant.name} batch {batch}: {figures['clips_per_s']:.1f} clips/s, p50 "
                           f"{figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms, "
                           f"{figures.get('share_of_peak', 0):.0%} of the matrix peak")
            found.append(figures)
        return found
    finally:
        engine.close()
        torch._dynamo.reset()
        _free(context.device)


def compare_with_torch(
    context: Context, subject: Subject, variant: Variant, engine: TorchEngine
) -> dict[str, Any]:
    """Hold an engine to its precision's tolerance: the plain fp32 one against the CPU, the rest against fp32 here."""
    device = "cpu" if variant.name == "fp32 plain" else context.device
    network = subject.network if device == "cpu" else copy.deepcopy(subject.network).to(device)
    with torch.backends.cudnn.flags(allow_tf32=False):
        report = verify(engine, network, subject.inputs[:1], variant.precision, "drawn clips")
    return {"ok": report.ok, "feature_error": report.feature_error, "score_max": report.score_max,
            "trained": report.trained, "against": f"torch fp32 on {device}"}


def time_engine(context: Context, subject: Subject, engine: Engine, batch: int) -> dict[str, Any]:
    """Pictures in the computer's memory to scores there, call by call; and the trunk alone, by the GPU's own clock."""
    frames, rows = subject.batch(batch)
    if context.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times_s = time_calls(
        lambda: engine.run_head(engine.run_trunk(frames), rows), context.device, seconds=_seconds(context),
        least=_least(context),
    )
    p50_s = float(np.median(times_s))
    # TensorRT's runner takes pictures from the computer's memory alone.
    there: Any = torch.from_numpy(frames).to(context.device) if isinstance(engine, TorchEngine) else frames
    runs = max(_least(context), min(200, int(_seconds(context) / p50_s)))
    trunk_s = time_on_device(lambda: engine.run_trunk(there), context.device, runs)
    figures: dict[str, Any] = {
        "batch": batch, "clips_per_s": round(batch / p50_s, 2), **percentiles_ms(times_s),
        "trunk_ms": round(trunk_s * 1e3, 3), "trunk_clips_per_s": round(batch / trunk_s, 2),
    }
    if context.device == "cuda":
        figures["memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return figures


def kernels_of(context: Context, subject: Subject, best: dict[str, Any]) -> list[dict[str, Any]]:
    """What the best engine spends the GPU's time on; it says what limits it."""
    precision, mode = best["engine"].split()
    if mode == "compiled_graphs" and context.left_s() < 90:
        mode = "graphs"
    engine = TorchEngine(subject.network, precision, context.device, mode,
                         compiler="eager" if context.quick else "inductor")
    there = torch.from_numpy(subject.batch(best["batch"])[0]).to(context.device)
    engine.run_trunk(there)
    wait(context.device)
    found = busiest_kernels(lambda: engine.run_trunk(there), context.device)
    engine.close()
    return found


def _seconds(context: Context) -> float:
    return QUICK_MEASURE_S if context.quick else MEASURE_S


def _least(context: Context) -> int:
    return 1 if context.quick else 5


def _free(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
