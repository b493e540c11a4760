"""Weights in, the fastest engine of this machine out: choose, find in the cache or build, verify, load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from detector.errors import UserError
from detector.types import Clip
from detector.views import FrameView
from detector.weights.records import ActionModel
from engine_build import targets
from engine_build.cache import EngineCache, StoredEngine
from engine_build.clips import drawn_clips, engine_input, fit_clip
from engine_build.engine import Engine
from engine_build.libraries import INSTALL, has
from engine_build.manifest import GRAPH_VERSION, EngineKey, sha256_of_arrays
from engine_build.memory import give_back_freed_memory
from engine_build.stored_network import StoredNetwork, facts_of, loaded
from engine_build.verify import Report, refuse, verify

if TYPE_CHECKING:
    from detector.slowfast.network import ActionNetwork

Target = Literal["auto", "openvino", "torch", "torch_cuda", "tensorrt", "tensorrt_rtx"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
REAL, DRAWN = "real clips", "drawn clips"


@dataclass(frozen=True)
class Job:
    """All that one build needs to know."""

    model: ActionModel
    network: ActionNetwork | StoredNetwork
    clip_shape: tuple[int, ...]
    target: str
    precision: str
    report: Callable[[str], object]
    clips: Sequence[Clip] | None

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.clip_shape[1], self.clip_shape[2]

    def inputs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Frames and ROI rows to verify on."""
        clips = self.clips if self.clips else drawn_clips(self.model, self.size_hw)
        return [engine_input(self.model, fit_clip(self.model, clip, self.size_hw), self.size_hw) for clip in clips]

    def key(self) -> EngineKey:
        """What the engine must have been built from."""
        calibration = ""
        if self.clips and self.precision == "int8":
            calibration = sha256_of_arrays([clip.images for clip in self.clips])
        return EngineKey(
            model=self.model.name, target=self.target, precision=self.precision, shape=self.clip_shape,
            weights_sha256=facts_of(self.network).weights_sha256,
            graph=f"{self.network.config} v{GRAPH_VERSION}",
            library=targets.library_version(self.target), device=targets.device_name(self.target),
            calibration_sha256=calibration,
        )


def build_engine(
    model: ActionModel,
    network: ActionNetwork | StoredNetwork,
    *,
    size_hw: tuple[int, int],
    target: Target = "auto",
    precision: Precision = "auto",
    report: Callable[[str], object] = print,
    cache_dir: Path | str | None = None,
    calibration: Sequence[Clip] | None = None,
) -> Engine:
    """Build the engine of an action model, or take it from the cache.

    Args:
        model: its record; name, view and sampling matter here.
        network: with its weights, fp32, on the CPU, left as it is; or where they are, to be read if need be.
        size_hw: height and width in pixels of the frames that the engine will see: the ring's frames for
            whole-frame models, the tube for tube models.
        target: "auto" takes the fastest that is installed and that this machine can run.
        precision: "auto" takes int8 where a calibrated engine that passed its verification is cached or
            `calibration` is given, else the fastest that needs no calibration.
        report: takes lines about what happens.
        cache_dir: where engines are kept; the user's cache folder where None.
        calibration: clips of what the engine will see, for int8's ranges and for verification.

    Raises:
        UserError: a library or GPU is missing, the cache cannot be written, or the engine is out of tolerance.
    """
    cache = EngineCache(cache_dir, report)
    *preferred, last = jobs_to_try(model, network, size_hw, target, precision, report, calibration)
    for job in preferred:
        engine = _int8_if_good(job, cache)
        if engine is not None:
            return engine
    if last.precision == "int8" and not calibration and _quiet(cache).find(last.key()) is None:
        raise UserError(
            "int8 needs clips to find its ranges, and no int8 engine is cached; "
            f"run: python -m engine_build --model {model.name} --precision int8 --calibrate VIDEO"
        )
    return _load(last, cache)


def jobs_to_try(
    model: ActionModel, network: ActionNetwork | StoredNetwork, size_hw: tuple[int, int], target: str, precision: str,
    report: Callable[[str], object] = lambda line: None, clips: Sequence[Clip] | None = None,
) -> list[Job]:
    """The engines that these arguments ask for, as for `build_engine`: the last one is built, those before it are
    taken where they are cached (or `clips` are given) and good.

    Raises:
        UserError: no such target or precision, or a library or GPU is missing.
    """
    chosen = targets.choose_target(target)
    wanted = [targets.choose_precision(chosen, precision)]
    if precision == "auto" and "int8" in targets.PRECISIONS[chosen]:
        wanted.insert(0, "int8")
    shape = (model.network.num_frames, *size_hw, 3)
    return [Job(model, network, shape, chosen, each, report, clips) for each in wanted]


def is_built(
    model: ActionModel, network: ActionNetwork | StoredNetwork, *, size_hw: tuple[int, int], target: Target = "auto",
    precision: Precision = "auto", cache_dir: Path | str | None = None,
) -> bool:
    """Whether building first, for `build_engine` with these arguments to find, is of no use: the engine is there, torch
    needs none, or the cache keeps nothing."""
    *preferred, last = jobs_to_try(model, network, size_hw, target, precision)
    if last.target in ("torch", "torch_cuda"):
        return True
    cache = _quiet(EngineCache(cache_dir))
    if cache.refusal():
        return True
    return cache.find(last.key()) is not None or any(_cached_int8(job, cache) is not None for job in preferred)


def _int8_if_good(job: Job, cache: EngineCache) -> Engine | None:
    """An int8 engine for `auto`: only for trained weights, only if verified on real clips and within tolerance."""
    if not job.clips and _cached_int8(job, cache) is None:
        return None
    if not facts_of(job.network).trained:
        return None
    if not has("nncf") and _quiet(cache).find(job.key()) is None:
        job.report(f"int8 is left out: nncf is not installed (run: {INSTALL['nncf']})")
        return None
    try:
        return _load(job, cache)
    except UserError as error:
        job.report(f"int8 is not used: {error}")
        return None


def _cached_int8(job: Job, cache: EngineCache) -> StoredEngine | None:
    """An int8 engine that `auto` may take as it lies in the cache: of trained weights, and verified to be good."""
    stored = _quiet(cache).find(job.key()) if facts_of(job.network).trained else None
    return stored if stored is not None and stored.manifest.verify.get("ok") else None


def _load(job: Job, cache: EngineCache) -> Engine:
    """Find or build, verify what is new, and load."""
    if job.target in ("torch", "torch_cuda"):
        return _torch_engine(job)
    stored = cache.load_or_build(job.key(), lambda folder: _build_files(job, folder))
    engine = _open(job, stored, cache)
    if stored.fresh:
        built_s = stored.manifest.build_s
        job.report(f"built {engine.description} in {built_s:.1f} s ({stored.size_mb:.0f} MB) in {stored.folder}")
    verified = _report_of(stored)
    if verified is None or (job.clips and verified.source == DRAWN):
        return _verified(job, cache, stored, engine)
    if not verified.ok:
        engine.close()
        raise refuse(verified)
    return engine


def _report_of(stored: StoredEngine) -> Report | None:
    """The verification that lies beside an engine; None where there is none, or it is not one that `verify` wrote."""
    try:
        report = Report(**stored.manifest.verify)
        report.line()  # fails where a number is none
    except (TypeError, ValueError, KeyError):
        return None
    return report


def _verified(job: Job, cache: EngineCache, stored: StoredEngine, engine: Engine) -> Engine:
    result = verify(engine, loaded(job.network), job.inputs(), job.precision, REAL if job.clips else DRAWN)
    cache.record_verify(stored, result.to_dict())
    give_back_freed_memory()
    if not result.ok:
        engine.close()
        raise refuse(result)
    job.report(f"verified: {result.line()}")
    return engine


def _build_files(job: Job, folder: Path) -> dict[str, Any]:
    job.report(f"building {job.target} {job.precision} of {job.model.name} for {job.clip_shape}; this is done once")
    if job.target == "openvino":
        from engine_build.convert_openvino import convert_head, convert_trunk
        from engine_build.run_openvino import FILE, HEAD_FILE, save_model

        network = loaded(job.network)
        converted = convert_trunk(
            network, job.clip_shape, paired_stem=job.precision != "fp32", split_wide=job.precision == "bf16"
        )
        if job.precision == "int8":
            from engine_build.quantize import quantize_openvino

            converted = quantize_openvino(converted, [frames for frames, _ in job.inputs()])
        save_model(converted, folder / FILE)
        save_model(convert_head(network), folder / HEAD_FILE)
        return {}
    return _build_tensorrt(job, folder)


def _build_tensorrt(job: Job, folder: Path) -> dict[str, Any]:
    """Build the trunk with 3-D and with 2-D convolutions, time both on this GPU, keep the faster."""
    from engine_build.build_tensorrt import ENGINE, TIMING_CACHE, Profile, build_engine_file
    from engine_build.export import TRUNK, export_trunk

    calibration = [frames for frames, _ in job.inputs()] if job.precision == "int8" else []
    times_ms: dict[str, float] = {}
    for form in ("3d", "2d"):
        onnx_path, engine_path = folder / f"{form}-{TRUNK}", folder / f"{form}-{ENGINE}"
        export_trunk(loaded(job.network), job.clip_shape, onnx_path, precision=job.precision, two_d=form == "2d",
                     calibration=calibration)
        build_engine_file(job.target, onnx_path, engine_path, Profile(job.clip_shape),
                          timing_cache=folder.parent / f"{job.target}-{TIMING_CACHE}", report=job.report)
        onnx_path.unlink()
        times_ms[form] = _time_tensorrt(job, engine_path)
        job.report(f"  {form} convolutions: {times_ms[form]:.2f} ms a clip")
    best = min(times_ms, key=lambda form: times_ms[form])
    for form in times_ms:
        engine_path = folder / f"{form}-{ENGINE}"
        engine_path.rename(folder / ENGINE) if form == best else engine_path.unlink()
    return {"form": best, "trunk_ms": times_ms}


def _time_tensorrt(job: Job, path: Path) -> float:
    import statistics
    import time

    import torch

    from engine_build.run_tensorrt import TensorRtEngine

    engine = TensorRtEngine(path, loaded(job.network), job.target, job.precision, job.clip_shape)
    frames = np.zeros((1, *job.clip_shape), np.uint8)
    times_s = []
    for _ in range(20):
        start = time.perf_counter()
        engine.run_trunk(frames)
        torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start)
    engine.close()
    return statistics.median(times_s[5:]) * 1e3


def _open(job: Job, stored: StoredEngine, cache: EngineCache) -> Engine:
    if job.target == "openvino":
        from engine_build.run_openvino import FILE, OpenVinoEngine

        return OpenVinoEngine(
            stored.folder / FILE, _head(job, stored, cache), job.precision, job.clip_shape,
            ready_for=int(isinstance(job.model.view, FrameView)),
        )
    from engine_build.build_tensorrt import ENGINE
    from engine_build.run_tensorrt import RUNTIME_CACHE, TensorRtEngine

    # Beside the engine's folder, whose files are all under the manifest's checksums.
    runtime_cache = stored.folder.with_name(f"{stored.folder.name}-{RUNTIME_CACHE}")
    return TensorRtEngine(stored.folder / ENGINE, loaded(job.network), job.target, job.precision, job.clip_shape,
                          runtime_cache=runtime_cache)


def _head(job: Job, stored: StoredEngine, cache: EngineCache) -> Any:
    """The head's file; an engine of an earlier version has none yet and gets it, or the head itself where it cannot."""
    from engine_build.run_openvino import HEAD_FILE, save_model

    if HEAD_FILE not in stored.manifest.files:
        from engine_build.convert_openvino import convert_head

        head = convert_head(loaded(job.network))
        if not cache.add(stored, lambda folder: save_model(head, folder / HEAD_FILE)):
            return head
    return stored.folder / HEAD_FILE


def _torch_engine(job: Job) -> Engine:
    from engine_build.run_torch import TorchEngine

    return TorchEngine(loaded(job.network), job.precision, "cuda" if job.target == "torch_cuda" else "cpu")


def _quiet(cache: EngineCache) -> EngineCache:
    return EngineCache(cache.folder, report=lambda line: None)
