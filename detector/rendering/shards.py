"""Rendered clips on disk: many processes write shards, training reads them again and again.

A shard is a `.npz` of `SHARD_CLIPS` clips; each clip's frames are one JPEG mosaic, about 40 kB. Shard n of a seed
holds the same clips on every machine.

    python -m detector.rendering.shards /tmp/rendered --shards 0:100
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.rendering.tubes import NAMES, TubeRecipe, render_tube

SHARD_CLIPS = 512
JPEG_QUALITY = 90


def pack(frames: np.ndarray) -> np.ndarray:
    """(T, s, s, 3) uint8 RGB to the bytes of one JPEG: a mosaic of T / 4 rows of four frames."""
    t, s = frames.shape[:2]
    mosaic = frames.reshape(t // 4, 4, s, s, 3).transpose(0, 2, 1, 3, 4).reshape(t // 4 * s, 4 * s, 3)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", np.ascontiguousarray(mosaic[..., ::-1]), quality)[1].reshape(-1)


def unpack(data: np.ndarray, size: int) -> np.ndarray:
    """The inverse of `pack`: (T, size, size, 3) uint8 RGB."""
    mosaic = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    rows = mosaic.shape[0] // size
    return mosaic.reshape(rows, size, 4, size, 3).transpose(0, 2, 1, 3, 4).reshape(rows * 4, size, size, 3)


def shard_path(folder: Path, number: int, held_out: bool) -> Path:
    """Where a shard lies."""
    return folder / f"{'held_out' if held_out else 'train'}-{number:04d}.npz"


def write_shard(folder: Path, number: int, seed: int, recipe: TubeRecipe) -> Path:
    """Render a shard unless it is there; it appears under its name only when complete."""
    path = shard_path(folder, number, recipe.held_out)
    if path.exists():
        return path
    clips = [render_tube((seed, int(recipe.held_out), number, i), recipe) for i in range(SHARD_CLIPS)]
    packed = [pack(clip.frames) for clip in clips]
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with draft.open("wb") as file:
        np.savez(
            file, data=np.concatenate(packed), ends=np.cumsum([len(p) for p in packed]),
            boxes=np.stack([clip.box for clip in clips]), targets=np.stack([clip.targets for clip in clips]),
            variants=np.array([clip.variant for clip in clips]), size=recipe.view.size_px,
            height_px=np.array([clip.height_px for clip in clips], np.float32),
        )
    draft.rename(path)
    return path


@dataclass(frozen=True)
class Shards:
    """Clips of some shards, held in memory as JPEGs.

    Attributes:
        data: (bytes,) uint8 of all clips; starts, ends: (N,) of each.
        boxes: (N, 4) float32. targets: (N, A) float32. variants: (N,) text. height_px: (N,) float32.
        size: side of the frames.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    boxes: np.ndarray
    targets: np.ndarray
    variants: np.ndarray
    height_px: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.ends)

    def frames(self, index: int) -> np.ndarray:
        """(T, size, size, 3) uint8 RGB."""
        return unpack(self.data[self.starts[index] : self.ends[index]], self.size)


def load_shards(paths: list[Path]) -> Shards:
    """Read shards in the order given."""
    parts = [np.load(path) for path in paths]
    data = [p["data"] for p in parts]
    sizes = [np.diff(np.concatenate([[0], p["ends"]])) for p in parts]
    ends = np.cumsum(np.concatenate(sizes))
    starts = np.concatenate([[0], ends[:-1]])
    joined = {name: np.concatenate([p[name] for p in parts]) for name in ("boxes", "targets", "variants", "height_px")}
    return Shards(data=np.concatenate(data), starts=starts, ends=ends, size=int(parts[0]["size"]), **joined)


class RenderedClips:
    """The loop's data set: shards with light augmentation (mirroring, colour, noise, a small shift of the crop)."""

    def __init__(self, shards: Shards, augment: bool = True) -> None:
        self.shards, self.augment = shards, augment

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        frames, box = self.shards.frames(index), self.shards.boxes[index].copy()
        if self.augment:
            frames, box = augment(frames, box)
        return frames, box[None], self.shards.targets[index][None]


def augment(frames: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change what changes no label; draws from numpy's global generator, which the loop seeds."""
    rng = np.random.default_rng(np.random.randint(2**31))
    size = frames.shape[1]
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
        box = np.array([size - box[2], box[1], size - box[0], box[3]], np.float32)
    if rng.random() < 0.7:
        table = np.arange(256, dtype=np.float32)[:, None] / 255
        gamma = np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.05, 3))
        table = (table**gamma - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.normal(0, 0.06)
        table = np.clip(table * 255, 0, 255).astype(np.uint8)
        if rng.random() < 0.12:
            gray = (frames @ np.array([0.3, 0.59, 0.11])).astype(np.uint8)
            frames = np.repeat(gray[..., None], 3, -1)
        frames = np.stack([table[:, c][frames[..., c]] for c in range(3)], -1)
    if rng.random() < 0.5:
        shift = rng.integers(-size // 20, size // 20 + 1, 2)
        frames = np.roll(frames, shift, (1, 2))
        box = (box + np.array([shift[1], shift[0]] * 2)).astype(np.float32)
    return np.ascontiguousarray(frames), box


def main() -> None:
    """Write shards."""
    parser = CommandLine(
        "python -m detector.rendering.shards", description="Render training clips of one person each into shards."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", default="0:40", help="first:last (not included); %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="motions and photos kept for validation")
    args = parser.parse_args()
    numbers = args.shards.split(":")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise UserError(f"--shards: got {args.shards!r}, expected FIRST:LAST such as 0:40")
    cv2.setNumThreads(1)
    first, last = (int(n) for n in numbers)
    for number in range(first, last):
        path = write_shard(args.folder, number, args.seed, TubeRecipe(held_out=args.held_out))
        print(f"{path}: {SHARD_CLIPS} clips, {len(NAMES)} classes", flush=True)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
