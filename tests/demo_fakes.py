"""A quick detector and network for the demo's tests, and a server that uses them: `python tests/demo_fakes.py`.

A "person" is a patch of saturated red; what it does follows from where it is: in the left half of the picture it
walks, in the right half it sits, and everywhere it stands a little.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo.__main__ import listen, serve
from demo.choices import Choices
from demo.pool import ModelPool
from demo.server import Backend, Limits
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.types import Boxes
from detector.views import FrameView
from detector.weights.records import ActionModel
from stream.session import Session
from stream.sources import open_source

LABELS = load_labels("ava").subset(("stand", "walk", "sit"), "three of AVA's")
MODEL = ActionModel(
    "fake", SlowFastConfig(num_frames=8, num_classes=3), LABELS, Sampling(8, 2), FrameView(96), accuracy="none at all",
)
PERSON_SCORE = 0.9


class FakeDetector:
    """Finds saturated red."""

    name, threshold = "red patches", 0.5

    def detect(self, image: np.ndarray) -> Boxes:
        blue, green, red = (image[..., i].astype(int) for i in range(3))
        mask = ((red > 150) & (green < 90) & (blue < 90)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        found = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:].tolist() if area > mask.size / 500]
        scores = np.full(len(found), PERSON_SCORE)
        return Boxes(np.array(found, np.float32), scores)[scores >= self.threshold]

    def fork(self):
        return self

    def close(self) -> None:
        pass


class FakeEngine:
    """Scores people by where they are."""

    description, num_classes = "fake fp32", 3

    def run_trunk(self, frames: np.ndarray) -> int:
        return frames.shape[3]

    def run_head(self, features: int, rois: np.ndarray) -> np.ndarray:
        left = (rois[:, 1] + rois[:, 3]) / 2 < features / 2
        return np.stack([np.full(len(rois), 0.4), np.where(left, 0.95, 0.1), np.where(left, 0.1, 0.85)], 1)

    def close(self) -> None:
        pass


def fake_session(name: str = "fake") -> Session:
    """A session that costs nothing."""
    return Session(MODEL, create_detector=FakeDetector, build_engine=lambda size_hw: FakeEngine())


def fake_pool() -> ModelPool:
    """A pool of one model."""
    return ModelPool(("fake",), fake_session)


def picture(x: float, size_hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    """(H, W, 3) uint8 BGR: a red figure whose middle is at x (0 to 1), on a grey ground with stripes."""
    h, w = size_hw
    image = np.full((h, w, 3), 110, np.uint8)
    image[::16] = 140
    centre = round(x * w)
    cv2.ellipse(image, (centre, h // 2), (w // 10, h // 3), 0, 0, 360, (30, 30, 220), -1)
    return image


def write_y4m(path: Path, xs: list[float], fps: int = 15, size_hw: tuple[int, int] = (240, 320)) -> Path:
    """A fake camera for Chromium: one frame for each place of the figure."""
    h, w = size_hw
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{w} H{h} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for x in xs:
            file.write(b"FRAME\n" + cv2.cvtColor(picture(x, size_hw), cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


def write_video(path: Path, xs: list[float], fps: int = 15, size_hw: tuple[int, int] = (240, 320)) -> Path:
    """An H.264 file, one frame for each place of the figure."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = size_hw[1], size_hw[0], "yuv420p"
        for x in xs:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(x, size_hw), format="bgr24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def main() -> None:
    """Serve the demo with fakes."""
    cli = argparse.ArgumentParser()
    cli.add_argument("--port", type=int, default=0)
    cli.add_argument("--visitors", type=int, default=2)
    cli.add_argument("--max-upload-mb", type=float, default=5)
    cli.add_argument("--allow-urls", action="store_true")
    cli.add_argument("--tls", nargs=2, default=(None, None))
    args = cli.parse_args()
    limits = Limits(args.visitors, int(args.max_upload_mb * 1e6), 60.0)
    default = Choices(person_threshold=0.5)
    backend = Backend(fake_pool(), limits, default, open_source if args.allow_urls else None)
    serve(backend, {"fake": MODEL}, listen("127.0.0.1", args.port), tls=tuple(args.tls))


if __name__ == "__main__":
    main()
