"""Causal weights in, the fastest engine of steps of this machine out: find in the cache or build, verify, load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from detector.weights.records import ActionModel
from engine_build import targets
from engine_build.build import DRAWN, REAL, Precision, Target
from engine_build.cache import EngineCache, StoredEngine
from engine_build.causal_engine import CausalEngine, TorchSteps, run_torch_steps, step_file
from engine_build.causal_graph import StepGraph
from engine_build.causal_states import CameraStates
from engine_build.export import DTYPES
from engine_build.footage import drawn_footage, steps_of
from engine_build.manifest import GRAPH_VERSION, EngineKey, sha256_of_arrays, sha256_of_weights
from engine_build.memory import give_back_freed_memory
from engine_build.verify import is_trained, refuse
from engine_build.verify_causal import CausalReport, verify_steps

# Steps that a new engine is verified on where no footage was given: three windows of 8x8 R50.
DRAWN_STEPS = 24
# Steps that int8's ranges come from, evenly over the footage.
CALIBRATION_STEPS = 48


@dataclass(frozen=True)
class StepJob:
    """All that one build needs to know."""

    model: ActionModel
    network: ActionNetwork
    size_hw: tuple[int, int]
    target: str
    precision: str
    report: Callable[[str], object]
    footage: np.ndarray | None
    drawn: bool = False

    def seen(self) -> np.ndarray:
        """Footage to verify and calibrate on."""
        return self.footage if self.footage is not None else drawn_footage(self.model, self.size_hw, DRAWN_STEPS)

    @property
    def source(self) -> str:
        """What it is verified on, in words."""
        return REAL if self.footage is not None and not self.drawn else DRAWN

    def graph(self) -> StepGraph:
        """What is converted."""
        on_gpu = self.target in ("tensorrt", "tensorrt_rtx")
        dtype = DTYPES[self.precision] if on_gpu else torch.float32
        return StepGraph(self.network, dtype, paired_stem=self.target == "openvino" and self.precision != "fp32")

    def key(self) -> EngineKey:
        """What the engine must have been built from."""
        config = self.network.config
        int8 = self.precision == "int8" and self.footage is not None
        return EngineKey(
            model=self.model.name, target=self.target, precision=self.precision,
            shape=(config.pictures_kept + config.frames_per_step, *self.size_hw, 3),
            weights_sha256=sha256_of_weights(self.network.state_dict()), graph=f"step of {config} v{GRAPH_VERSION}",
            library=targets.library_version(self.target), device=targets.device_name(self.target),
            calibration_sha256=sha256_of_arrays([self.footage]) if int8 and self.footage is not None else "",
        )


def build_causal_engine(
    model: ActionModel,
    network: ActionNetwork,
    *,
    size_hw: tuple[int, int],
    target: Target = "auto",
    precision: Precision = "auto",
    report: Callable[[str], object] = print,
    cache_dir: Path | str | None = None,
    footage: np.ndarray | None = None,
    drawn: bool = False,
) -> CausalEngine:
    """Build the engine of a causal model's steps, or take it from the cache.

    Args:
        model, network: its record and weights, fp32, on the CPU. Left as they are.
        size_hw: height and width in pixels of the frames.
        target: as for `build.build_engine`; TensorRT engines of steps are built but not run yet, so "auto" on a GPU
            takes torch.
        precision: "auto" takes int8 where an engine calibrated on real video and verified is cached.
        report: takes lines about what happens.
        cache_dir: where engines are kept; the user's cache folder where None.
        footage: (F, h, w, 3) uint8 RGB of a camera, for int8's ranges and for verification.
        drawn: the footage is no real video: good enough to measure speed, and never taken by "auto".

    Raises:
        UserError: a library is missing, the cache cannot be written, or the engine is out of tolerance.
    """
    if not model.network.causal:
        raise ValueError(f"model: got {model.name}, which looks ahead, expected a causal one")
    chosen = _choose_target(target)
    cache = EngineCache(cache_dir, report)
    quiet = EngineCache(cache.folder, lambda line: None)

    def job(precision: str) -> StepJob:
        return StepJob(model, network, size_hw, chosen, precision, report, footage, drawn)

    if precision == "auto" and chosen == "openvino" and is_trained(network):
        stored = quiet.find(job("int8").key())
        if stored is not None and stored.manifest.verify.get("ok") and stored.manifest.verify.get("source") == REAL:
            return _load(job("int8"), cache)
    wanted = targets.choose_precision(chosen, precision)
    if wanted == "int8" and footage is None and quiet.find(job("int8").key()) is None:
        raise UserError(
            "int8 needs video to find its ranges, and no int8 engine is cached; "
            f"run: python -m engine_build --causal --model {model.name.removesuffix('-causal')} --precision int8 "
            "--calibrate VIDEO"
        )
    return _load(job(wanted), cache)


def is_step_built(
    model: ActionModel, network: ActionNetwork, *, size_hw: tuple[int, int], target: Target = "auto",
    precision: Precision = "auto", cache_dir: Path | str | None = None,
) -> bool:
    """Whether `build_causal_engine`, with these arguments, finds what it needs in the cache."""
    chosen = _choose_target(target)
    if chosen in ("torch", "torch_cuda"):
        return True
    cache = EngineCache(cache_dir, report=lambda line: None)
    wanted = targets.choose_precision(chosen, precision)
    job = StepJob(model, network, size_hw, chosen, wanted, lambda line: None, None)
    return cache.find(job.key()) is not None


def _choose_target(target: str) -> str:
    chosen = targets.choose_target(target)
    if chosen in ("tensorrt", "tensorrt_rtx"):
        if target != "auto":
            raise UserError(f"--engine {target}: causal steps do not run in it yet; run with --engine torch_cuda")
        return "torch_cuda"
    return chosen


def _load(job: StepJob, cache: EngineCache) -> CausalEngine:
    if job.target in ("torch", "torch_cuda"):
        return run_torch_steps(job.network, job.size_hw, job.precision, "cuda" if job.target == "torch_cuda" else "cpu")
    stored = cache.load_or_build(job.key(), lambda folder: _build_files(job, folder))
    engine = _open(job, stored.folder)
    if stored.fresh:
        job.report(f"built {engine.description} in {stored.manifest.build_s:.1f} s ({stored.size_mb:.0f} MB) in "
                   f"{stored.folder}")
    verified = stored.manifest.verify
    if not verified or (job.source == REAL and verified["source"] == DRAWN):
        return _verified(job, cache, stored, engine)
    if not verified["ok"]:
        engine.close()
        raise refuse(CausalReport(**verified))
    return engine


def _verified(job: StepJob, cache: EngineCache, stored: StoredEngine, engine: CausalEngine) -> CausalEngine:
    result = verify_steps(engine, job.network, job.seen(), job.precision, job.source)
    cache.record_verify(stored, result.to_dict())
    give_back_freed_memory()
    if not result.ok:
        engine.close()
        raise refuse(result)
    job.report(f"verified: {result.line()}")
    return engine


def _build_files(job: StepJob, folder: Path) -> dict[str, Any]:
    from engine_build.run_causal_openvino import convert_step
    from engine_build.run_openvino import save_model

    config = job.network.config
    what = f"{config.frames_per_step} frames of {job.size_hw[1]}x{job.size_hw[0]}"
    job.report(f"building {job.target} {job.precision} of {job.model.name} for steps of {what}; this is done once")
    graph = job.graph()
    converted = convert_step(graph, job.size_hw)
    if job.precision == "int8":
        from engine_build.quantize import quantize_step

        samples = CalibrationSteps(job)
        converted = quantize_step(converted, samples, len(samples))
    save_model(converted, step_file(folder, job.target))
    return {}


class CalibrationSteps:
    """Inputs of steps over real video, sums and all, as often as they are asked for: they would not fit in memory."""

    def __init__(self, job: StepJob) -> None:
        config = job.network.config
        self._job, self._footage = job, job.seen()
        steps = len(self._footage) // config.frames_per_step
        # Sums of a camera that has just started are not those of the rest of its life.
        first = min(config.window_steps, steps // 2)
        chosen = np.linspace(first, steps - 1, min(CALIBRATION_STEPS, steps - first))
        self._chosen = set(chosen.astype(int).tolist())

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        job = self._job
        graph = StepGraph(job.network)
        steps = TorchSteps(graph)
        states = CameraStates(
            job.network.config, job.size_hw, graph.sum_shapes(job.size_hw), graph.feature_shape(job.size_hw)
        )
        row = states.open()
        seen: list[np.ndarray] = []

        def run(frames: torch.Tensor, past: list[torch.Tensor], fresh: list[torch.Tensor]) -> torch.Tensor:
            seen[:] = [tensor.numpy() for tensor in (frames, *past)]
            return steps.run(frames, past, fresh)

        for i, frames in enumerate(steps_of(self._footage, job.network.config.frames_per_step)):
            states.run(torch.from_numpy(frames.copy()), [row], run)
            if i in self._chosen:
                yield [array.copy() for array in seen]


def _open(job: StepJob, folder: Path) -> CausalEngine:
    from engine_build.run_causal_openvino import OpenVinoSteps

    runner = OpenVinoSteps(step_file(folder, job.target), job.precision)
    return CausalEngine(job.network, runner, job.graph(), job.size_hw)
