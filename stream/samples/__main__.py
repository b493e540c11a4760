"""Draw the bundled clip: two figures in a street, one walking by, one waving. `python -m stream.samples [FILE]`"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from stream.mp4 import Mp4Writer

SIZE_HW, FPS, SECONDS = (360, 640), 25, 8
SKIN, HAIR = (130, 160, 205), (40, 50, 70)


def limb(image: np.ndarray, start: np.ndarray, angle: float, length: float, width: float, colour) -> np.ndarray:
    """Draw a limb from a joint, `angle` radians from straight down; returns its other end."""
    end = start + length * np.array([np.sin(angle), np.cos(angle)])
    # OpenCV takes eighths of a pixel with shift=3.
    first, last = ([int(v) for v in np.round(p * 2**3)] for p in (start, end))
    cv2.line(image, first, last, colour, max(int(width), 1), cv2.LINE_AA, shift=3)
    return end


def figure(image: np.ndarray, foot: np.ndarray, height: float, phase: float, stride: float, wave: float, shirt) -> None:
    """Draw a person.

    Args:
        image: drawn on.
        foot: (2,) where the person stands, pixels.
        height: pixels.
        phase: of the walk, radians.
        stride: swing of the legs, radians; 0 stands.
        wave: angle of the raised arm, radians from straight down; 0 lets it swing.
        shirt: colour.
    """
    u = height / 8
    hip = foot - np.array([0, 4 * u - 0.15 * u * abs(np.sin(phase)) * (stride > 0)])
    neck = hip - np.array([0, 2.6 * u])
    for side in (1, -1):
        swing = stride * np.sin(phase) * side
        shade = 1.0 if side > 0 else 0.75
        trousers = tuple(c * shade for c in (90, 60, 50))
        knee = limb(image, hip, swing, 2 * u, 0.95 * u, trousers)
        ankle = limb(image, knee, swing - 0.5 * stride * max(np.sin(phase * side + 0.9), 0), 1.9 * u, 0.7 * u, trousers)
        limb(image, ankle, np.pi / 2, 0.6 * u, 0.45 * u, (30, 30, 30))
    limb(image, hip - [0, 0.3 * u], np.pi, 2.1 * u, 1.7 * u, shirt)
    for side in (1, -1):
        raised = wave and side > 0
        upper = wave if raised else -stride * 0.9 * np.sin(phase) * side
        shoulder = neck + np.array([0.45 * u * side * (stride == 0), 0.35 * u])
        elbow = limb(image, shoulder, upper, 1.4 * u, 0.6 * u, tuple(c * (1 if side > 0 else 0.8) for c in shirt))
        limb(image, elbow, upper + (0.9 * np.sin(phase * 2) if raised else 0.25), 1.3 * u, 0.45 * u, SKIN)
    head = neck - np.array([0, 0.75 * u])
    centre = tuple(int(v) for v in np.round(head * 2**3))
    cv2.circle(image, centre, int(0.62 * u * 2**3), SKIN, -1, cv2.LINE_AA, shift=3)
    cv2.ellipse(image, (int(head[0]), int(head[1] - 0.1 * u)), (int(0.65 * u), int(0.65 * u)), 0, 180, 360, HAIR, -1,
                cv2.LINE_AA)


def background() -> np.ndarray:
    """(H, W, 3) uint8: a wall with windows, a pavement, grain."""
    h, w = SIZE_HW
    rows = np.linspace(0, 1, h)[:, None, None]
    image = (np.array([205, 200, 190]) - 35 * rows) * np.ones((h, w, 1))
    image[int(0.68 * h):] = np.array([130, 135, 140]) + 25 * rows[int(0.68 * h):]
    for x in range(50, w, 150):
        image[60:150, x:x + 70] = (120, 105, 85)
        image[64:146, x + 4:x + 66] = (165, 150, 120)
    image += np.random.default_rng(0).normal(0, 4, (h, w, 1))
    return image.clip(0, 255).astype(np.uint8)


def draw_frame(time_s: float, still: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 picture of a moment of the clip."""
    image = still.copy()
    figure(image, np.array([450.0, 300.0]), 190, time_s * 6, 0.0, 2.6, (70, 120, 60))
    x = 40 + 62 * time_s
    figure(image, np.array([x, 325.0]), 215, time_s * 2 * np.pi * 0.95, 0.5, 0.0, (60, 60, 170))
    return image


def main() -> None:
    """Write the clip."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sample.mp4"
    still = background()
    writer = Mp4Writer(path, FPS, crf=24, preset="slow")
    for i in range(FPS * SECONDS):
        writer.write(draw_frame(i / FPS, still), i / FPS)
    writer.close()
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
