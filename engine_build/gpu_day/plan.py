"""What is measured, in which order, within which time, and what each step needs. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from detector.errors import UserError, nearest_names

# What a person types to get a package whose name for pip is not the one it is imported by.
PIP_NAMES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "tensorrt_rtx": "tensorrt-rtx-cu13",
}


@dataclass(frozen=True)
class Step:
    """One thing to measure.

    Attributes:
        name: as typed after `--steps`.
        about: one line.
        function: `module:function` that does it, given a `child.Context` and `arguments`.
        limit_s: seconds after which it is stopped.
        reserve_s: seconds that earlier steps leave for it.
        needs: packages without which it is left out.
        helped_by: package → what is missing from the figures without it.
        arguments: of the function.
    """

    name: str
    about: str
    function: str
    limit_s: float
    reserve_s: float = 5.0
    needs: tuple[str, ...] = ("torch",)
    helped_by: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


_HERE = "engine_build.gpu_day"
_ENGINES = ("torch", "torchvision", "numpy", "cv2")
_STREAMS = (*_ENGINES, "av", "PIL", "scipy", "requests", "platformdirs")
_YARDSTICK = (("pytorchvideo", "its eager network as the yardstick; this project's own stands in"),)

STEPS = (
    Step("machine", "what this machine is, and the peaks it reaches", f"{_HERE}.machine:run", 60),
    Step("tests", "the tests that need a GPU", f"{_HERE}.gpu_tests:run", 240, 30, (*_ENGINES, "pytest")),
    Step("r50", "engines of the 8x8 R50", f"{_HERE}.actions:run", 330, 60, _ENGINES, _YARDSTICK,
         ("slowfast_8x8_r50",)),
    Step("r101nl", "engines of the 16x8 R101+NL", f"{_HERE}.actions:run", 300, 60, _ENGINES, (),
         ("slowfast_16x8_r101_nl",)),
    Step("bundled", "engines of the bundled model", f"{_HERE}.actions:run", 150, 45, _ENGINES, (), ("bundled",)),
    Step("people", "the person detector", f"{_HERE}.people:run", 120, 30, _ENGINES),
    Step("decode", "decoding of video, on the CPU and on the GPU", f"{_HERE}.streams:run_decode", 60, 10, ("av",),
         (("torchcodec", "a second way to the GPU's decoder"),)),
    Step("streams", "1, 4, 8 and 16 cameras from files, decoded on the CPU", f"{_HERE}.streams:run_cameras", 240, 90,
         _STREAMS),
    Step("training", "the bundled model's training, beside the CPU's", f"{_HERE}.training:run", 600, 60, _ENGINES),
    Step("tensorrt", "TensorRT's engines of the 8x8 R50", f"{_HERE}.tensorrt:run", 300, 5,
         (*_ENGINES, "onnx", "onnxslim", "tensorrt", "pycuda"), (), ("tensorrt",)),
    Step("tensorrt_rtx", "TensorRT-RTX's engines of the 8x8 R50", f"{_HERE}.tensorrt:run", 300, 5,
         (*_ENGINES, "onnx", "onnxslim", "tensorrt_rtx", "pycuda"), (), ("tensorrt_rtx",)),
)


def choose_steps(names: str | None, steps: Iterable[Step] = STEPS) -> list[Step]:
    """The steps of a comma-separated list, in their usual order; all of them where None.

    Raises:
        UserError: there is none of that name.
    """
    steps = list(steps)
    if names is None:
        return steps
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [step.name for step in steps]
    for name in wanted:
        if name not in known:
            raise UserError(f"--steps {name!r}: unknown, perhaps {nearest_names(name, known)}? ({', '.join(known)})")
    if not wanted:
        raise UserError(f"--steps: got none, expected some of {', '.join(known)}")
    return [step for step in steps if step.name in wanted]


def is_there(package: str) -> bool:
    """Whether a package can be imported; it is looked for, not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def missing(step: Step, there: Callable[[str], bool] = is_there) -> list[str]:
    """What a step needs and what is not there."""
    return [package for package in step.needs if not there(package)]


def why_left_out(step: Step, there: Callable[[str], bool] = is_there) -> str:
    """One line on what is missing for a step; "" where nothing is."""
    absent = missing(step, there)
    if not absent:
        return ""
    return f"needs {', '.join(absent)}; run: pip install {' '.join(PIP_NAMES.get(p, p) for p in absent)}"


def describe(steps: Iterable[Step], there: Callable[[str], bool] = is_there) -> str:
    """A line or two for each step: what it does, how long at most, what it needs and what of that is missing."""
    lines = []
    for step in steps:
        lines.append(f"{step.name:13s} {step.about} (at most {step.limit_s:.0f} s)")
        needs = ", ".join(f"{p} (missing)" if not there(p) else p for p in step.needs)
        lines.append(f"{'':13s}   needs {needs}")
        for package, what in step.helped_by:
            lines.append(f"{'':13s}   {'has' if there(package) else 'lacks'} {package}: {what}")
    return "\n".join(lines)


def in_one_line(steps: Iterable[Step]) -> str:
    """What each step needs, for the line that says that there is no GPU."""
    return "; ".join(f"{step.name}: {' '.join(step.needs)}" for step in steps)
