"""Media that tests need, rendered here: nothing is downloaded and nothing binary is kept in the repository."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests for a GPU skip without one, unless REQUIRE_GPU=1: a run on a GPU must not pass by skipping."""
    if item.get_closest_marker("gpu") is None or os.environ.get("REQUIRE_GPU") == "1":
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")


def numbered_picture(number: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8 whose grey level tells its number: 16 + 4 * number, up to 59."""
    return np.full((*size_hw, 3), 16 + 4 * (number % 60), np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number of a `numbered_picture`, read back after lossy coding."""
    return round((float(image.mean()) - 16) / 4)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> Iterator[None]:
    """A shell starts what it runs in the background with SIGINT ignored, and every child inherits that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an H.264 file of numbered pictures and returns its path."""

    def write(
        name: str = "clip.mp4", frames: int = 20, fps: float = 10.0, size_hw: tuple[int, int] = (48, 64),
        times_s: list[float] | None = None, codec: str = "libx264",
    ) -> Path:
        import av  # tests for a GPU run where it is missing

        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
            if codec == "libx264":
                stream.options = {"crf": "10", "preset": "ultrafast"}
            if times_s is not None:
                stream.codec_context.time_base = Fraction(1, 10_000)
            for number in range(frames):
                picture = numbered_picture(number, size_hw)
                if size_hw[0] % 2 == size_hw[1] % 2 == 0:
                    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p" if picture.ndim == 2 else "bgr24")
                if times_s is not None:
                    frame.time_base, frame.pts = Fraction(1, 10_000), round(times_s[number] * 10_000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def one_thread():
    """torch on one thread: small networks spend their time waiting for a second one, above all on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
