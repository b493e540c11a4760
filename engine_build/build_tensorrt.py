"""ONNX to an engine file with TensorRT (10, 11) or TensorRT-RTX, which share one Python interface.

TensorRT times its kernels, so it builds on the GPU that will run the engine. TensorRT-RTX compiles ahead of time: it
builds on a machine without any GPU for the compute capabilities that it is told, and finishes on the user's GPU.
RoIAlign stays outside: its plugin needs a driver even to be parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.errors import UserError
from engine_build.cache import write_whole
from engine_build.libraries import require

ENGINE = "trunk.engine"
TIMING_CACHE = "timing.cache"
# The input of the person detector's graph.
PICTURE = "picture"


@dataclass(frozen=True)
class Profile:
    """Sizes an engine must serve: TensorRT's optimisation profile.

    Attributes:
        clip_shape: (T, h, w, 3), fixed.
        batches: least, most usual, largest number of clips at once.
        input_name: of the graph's input.
    """

    clip_shape: tuple[int, ...]
    batches: tuple[int, int, int] = (1, 1, 8)
    input_name: str = "frames"

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Least, most usual and largest shape of the input."""
        return tuple((batch, *self.clip_shape) for batch in self.batches)

    @property
    def inputs(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """`shapes` by the input's name."""
        return {self.input_name: self.shapes}


@dataclass(frozen=True)
class StepProfile:
    """Sizes of a causal step: all its inputs in the same batches of cameras.

    Attributes:
        shapes: of each input by name, without the batch.
        batches: least, most usual, largest number of cameras at once.
    """

    shapes: Mapping[str, tuple[int, ...]]
    batches: tuple[int, int, int] = (1, 1, 8)

    @property
    def inputs(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Least, most usual and largest shape of each input."""
        return {name: tuple((batch, *shape) for batch in self.batches) for name, shape in self.shapes.items()}


@dataclass(frozen=True)
class PictureProfile:
    """Sizes of one picture that an engine must serve.

    Attributes:
        least_hw, usual_hw, most_hw: height and width in pixels.
        input_name: of the graph's input.
    """

    least_hw: tuple[int, int]
    usual_hw: tuple[int, int]
    most_hw: tuple[int, int]
    input_name: str = PICTURE

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Least, most usual and largest shape of the input."""
        return tuple((1, 3, *size_hw) for size_hw in (self.least_hw, self.usual_hw, self.most_hw))

    @property
    def inputs(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """`shapes` by the input's name."""
        return {self.input_name: self.shapes}


def build_engine_file(
    target: str,
    onnx_path: Path,
    engine_path: Path,
    profile: Profile | StepProfile | PictureProfile,
    *,
    compute_capability: str | None = None,
    timing_cache: Path | None = None,
    report: Callable[[str], object] = print,
) -> None:
    """Build an engine; the precision is a property of the graph (strongly typed). fp32 is fp32, not TF32.

    Args:
        target: `tensorrt` or `tensorrt_rtx`.
        onnx_path: the exported graph.
        engine_path: written.
        profile: input sizes.
        compute_capability: for TensorRT-RTX without a GPU: `SM86`, `SM120` ...; the GPU here where None.
        timing_cache: kernel timings of earlier builds, read and written (TensorRT only).
        report: takes progress lines.

    Raises:
        UserError: the library is missing, an operation is not supported, memory is short, or there is no GPU.
    """
    trt = require(target)
    messages: list[str] = []
    logger = make_logger(trt, messages)
    builder = trt.Builder(logger)
    if builder is None:
        raise UserError(f"{target}: the builder does not start ({_last(messages)}); look at: nvidia-smi")
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        nodes = ", ".join(sorted({f"{e.node_operator()} ({e.node_name()})" for e in errors})[:3])
        first = errors[0].desc().splitlines()[0] if errors else _last(messages)
        raise UserError(f"{target}: operation not supported: {nodes}: {first[:200]}; run with --engine torch_cuda")
    config = builder.create_builder_config()
    _set_profile(builder, config, profile)
    if is_fp32(trt, network):
        # On by default; it rounds what goes into products to 10 bits, as fp16 does, and fp32 is held to 1e-3.
        config.clear_flag(trt.BuilderFlag.TF32)
    if compute_capability is not None:
        _aim_at(trt, config, compute_capability)
    config.progress_monitor = make_progress(trt, report)
    cache = _load_timing_cache(config, timing_cache) if target == "tensorrt" else None
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise _build_error(target, messages)
    engine_path.write_bytes(memoryview(serialized))
    if cache is not None and timing_cache is not None:
        write_whole(timing_cache, memoryview(config.get_timing_cache().serialize()))


def make_logger(trt: Any, messages: list[str]) -> Any:
    """A logger that keeps errors for the one-line report instead of printing pages."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                messages.append(message)

    return Logger()


def make_progress(trt: Any, report: Callable[[str], object]) -> Any:
    """A progress monitor that reports each quarter of the longest phase."""

    class Progress(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.told: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self.steps.get(phase_name, 0)
            quarter = 4 * (step + 1) // total if total >= 8 else 0
            if quarter > self.told.get(phase_name, 0):
                self.told[phase_name] = quarter
                report(f"  {phase_name}: {25 * quarter} %")
            return True

    return Progress()


def _strongly_typed(trt: Any) -> int:
    # TensorRT 11 knows nothing else and may drop the flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def is_fp32(trt: Any, network: Any) -> bool:
    """Whether nothing in a parsed network is of less than 32 bits."""
    lower = {getattr(trt.DataType, name) for name in ("HALF", "BF16", "INT8", "FP8") if hasattr(trt.DataType, name)}
    layers = (network.get_layer(i) for i in range(network.num_layers))
    return not any(layer.get_output(i).dtype in lower for layer in layers for i in range(layer.num_outputs))


def _set_profile(builder: Any, config: Any, profile: Profile | StepProfile | PictureProfile) -> None:
    made = builder.create_optimization_profile()
    for name, shapes in profile.inputs.items():
        made.set_shape(name, *shapes)
    config.add_optimization_profile(made)


def _aim_at(trt: Any, config: Any, compute_capability: str) -> None:
    known = [n for n in dir(trt.ComputeCapability) if n.startswith("SM")]
    if compute_capability not in known:
        raise UserError(f"compute capability: got {compute_capability}, expected one of {', '.join(known)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, compute_capability), 0)


def _load_timing_cache(config: Any, path: Path | None) -> Any:
    data = path.read_bytes() if path is not None and path.is_file() else b""
    cache = config.create_timing_cache(data)
    if cache is None:  # of another version or GPU: start a new one
        cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _build_error(target: str, messages: list[str]) -> UserError:
    text = " ".join(messages)
    last = _last(messages)
    if "OutOfMemory" in text or "out of memory" in text:
        return UserError(f"{target}: too little GPU memory to build ({last}); close other programs that use the GPU")
    if "driver version is insufficient" in text or "no CUDA-capable device" in text:
        return UserError(f"{target} needs an NVIDIA GPU and its driver to build (look at: nvidia-smi)")
    return UserError(f"{target}: the build failed ({last}); run with --engine torch_cuda")


def _last(messages: list[str]) -> str:
    return messages[-1].splitlines()[0][:200] if messages else "no message"
