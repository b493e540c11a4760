"""The GPU's video decoder: which way to it is there, if any, and how fast it is beside the CPU's.

`python -m stream.hardware_decode --source FILE --json FILE` measures. FFmpeg decodes on the GPU through PyAV where its
wheel was built for it, torchcodec where it is installed; NVDEC is the decoder's own name.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from detector.command_line import CommandLine
from detector.errors import UserError, run_command

FRAMES = 300


class Way(NamedTuple):
    """A way to decode on the GPU: "pyav" or "torchcodec", or "" and the reason in one line."""

    name: str
    why_not: str = ""


def find_way(load: Callable[[str], Any] = importlib.import_module, has_gpu: Callable[[], bool] | None = None) -> Way:
    """Look for a way to decode on the GPU.

    Args:
        load: imports a module.
        has_gpu: whether there is one; torch is asked unless given.
    """
    if not (has_gpu or _has_gpu)():
        return Way("", "no NVIDIA GPU")
    reasons = []
    try:
        hwaccel = load("av.codec.hwaccel")
    except ImportError:
        reasons.append("PyAV has no hardware decoding (pip install 'av>=14')")
    else:
        if "cuda" in hwaccel.hwdevices_available():
            return Way("pyav")
        reasons.append("this PyAV was built without CUDA")
    try:
        load("torchcodec.decoders")
    except ImportError:
        reasons.append("torchcodec is not installed (pip install torchcodec)")
    except (OSError, RuntimeError) as error:
        reasons.append(f"torchcodec does not load ({_first_line(error)})")
    else:
        return Way("torchcodec")
    return Way("", "; ".join(reasons))


def count_frames(path: str, way: str, frames: int = FRAMES) -> tuple[int, float]:
    """Decode the first frames of a file by a way ("cpu", "pyav", "torchcodec"); how many, and seconds."""
    start_s = time.perf_counter()
    count = _by_torchcodec(path, frames) if way == "torchcodec" else _by_pyav(path, frames, way == "pyav")
    return count, time.perf_counter() - start_s


def measure(path: str, find: Callable[[], Way] = find_way, frames: int = FRAMES) -> dict[str, Any]:
    """Frames a second on the CPU, and on the GPU or one line that says why not."""
    count, seconds = count_frames(path, "cpu", frames)
    figures: dict[str, Any] = {"source": Path(path).name, "frames": count, "cpu_fps": round(count / seconds, 1)}
    way = find()
    if not way.name:
        return {**figures, "gpu": f"left out: {way.why_not}"}
    try:
        count, seconds = count_frames(path, way.name, frames)
    except Exception as error:  # drivers, containers and builds have many ways to say no
        return {**figures, "gpu": f"left out: {way.name} cannot ({_first_line(error)})"}
    return {**figures, "gpu": way.name, "gpu_fps": round(count / seconds, 1)}


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _by_pyav(path: str, frames: int, on_gpu: bool) -> int:
    import av

    options: dict[str, Any] = {}
    if on_gpu:
        from av.codec.hwaccel import HWAccel

        # What cannot be decoded there must not be decoded here and counted as if it were.
        options["hwaccel"] = HWAccel(device_type="cuda", allow_software_fallback=False)
    count = 0
    with av.open(path, **options) as container:
        stream = container.streams.video[0]
        if not on_gpu:
            stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            frame.to_ndarray(format="bgr24")
            count += 1
            if count == frames:
                break
    return count


def _by_torchcodec(path: str, frames: int) -> int:
    import torch
    from torchcodec.decoders import VideoDecoder

    count = 0
    for _ in VideoDecoder(path, device="cuda"):
        count += 1
        if count == frames:
            break
    torch.cuda.synchronize()
    return count


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    cli = CommandLine("python -m stream.hardware_decode", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--source", required=True, metavar="FILE", help="video file")
    cli.add_argument("--frames", type=int, default=FRAMES, metavar="N", help=f"of it ({FRAMES})")
    cli.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = cli.parse_args(argv)
    if not Path(args.source).is_file():
        raise UserError(f"--source {args.source}: no such file")
    figures = measure(args.source, frames=args.frames)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
