"""The bundled model's training: updates a second on this device, and on the CPU beside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.bundled.train import BUNDLED_CONFIG, BUNDLED_RECIPE, pose_and_hands_loss
from detector.slowfast.network import create_network
from detector.training.batches import ClipDataset, ClipOrder, Item, create_loader
from detector.training.distributed import World
from detector.training.loop import train
from detector.training.precision import without_slow_bf16
from detector.training.recipe import Execution, Recipe
from engine_build.gpu_day.child import Context

SIZE_PX = 80
DRAWN_CLIPS = 2048
# Of the step's time, the rest being for starting and for the CPU.
CPU_SHARE, LOADER_S = 0.2, 10.0
# Updates that are not counted: memory is taken, workers start, cuDNN chooses.
WARM_UPS = 5
MANY_STEPS = 1_000_000


class TimeUp(Exception):
    """Training has had its seconds."""


class DrawnTubes:
    """Moving ground instead of people, for where no rendered clips are: as costly, and nothing to learn from."""

    def __init__(self, count: int, frames: int, size_px: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        self._ground = rng.integers(0, 256, (frames + size_px * 4, size_px * 4, 3), dtype=np.uint8)
        self._count, self._frames, self._size = count, frames, size_px
        self._poses = rng.integers(0, classes - 2, count)
        self._classes = classes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Item:
        y, x = index * 7 % (3 * self._size), index * 13 % (3 * self._size)
        frames = np.stack([self._ground[y + t : y + t + self._size, x : x + self._size] for t in range(self._frames)])
        box = np.array([[0.3, 0.1, 0.7, 0.9]], np.float32) * self._size
        targets = np.zeros((1, self._classes), np.float32)
        targets[0, self._poses[index]] = 1
        return frames, box, targets


class TimedLoss:
    """The training's loss; notes when each update comes to it, and ends the training when its time is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.times_s: list[float] = []
        self.last: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.times_s.append(time.perf_counter())
        if len(self.times_s) > WARM_UPS + 2 and self.times_s[-1] - self.times_s[0] > self._seconds:
            raise TimeUp
        return pose_and_hands_loss(logits, targets)

    def updates_per_s(self) -> float:
        """Between the warm-up's end and the last update."""
        counted = self.times_s[WARM_UPS:]
        return (len(counted) - 1) / (counted[-1] - counted[0])


def run(context: Context) -> None:
    """Train on the device for most of the time, then on the CPU, and ask what the loader alone could give."""
    dataset, source = clips_of(context)
    context.put("clips", source)
    recipe = replace(BUNDLED_RECIPE, batch=4 if context.quick else BUNDLED_RECIPE.batch, steps=MANY_STEPS)
    workers = 0 if context.quick else max(1, min(14, (os.cpu_count() or 2) - 2))
    loader_rate = loader_batches_per_s(dataset, recipe, workers, 0.2 if context.quick else LOADER_S)
    context.put("loader_batches_per_s", round(loader_rate, 2))
    devices = [context.device] if context.device == "cpu" else [context.device, "cpu"]
    for device in devices:
        share = CPU_SHARE if device == "cpu" else 1 - CPU_SHARE
        seconds = 0.5 if context.quick else max(context.left_s() - 20.0, 5.0) * share
        figures = train_for(dataset, recipe, device, workers, seconds)
        context.put(device, figures)
        context.report(f"training on {device}: {figures['updates_per_s']:.2f} updates/s of {recipe.batch} clips")
    if context.device == "cuda":
        limit = "reading clips" if loader_rate < 1.15 * context.figures["cuda"]["updates_per_s"] else "the network"
        context.put("limited_by", limit)


def clips_of(context: Context) -> tuple[ClipDataset, str]:
    """Rendered clips where their folder was given, else drawn ones."""
    if context.settings.shards:
        from detector.bundled.train import find_shards
        from detector.rendering.shards import RenderedClips, load_shards

        shards = load_shards(find_shards(Path(context.settings.shards), held_out=False))
        return RenderedClips(shards), f"{len(shards)} rendered clips"
    count = 32 if context.quick else DRAWN_CLIPS
    drawn = DrawnTubes(count, BUNDLED_CONFIG.num_frames, SIZE_PX, BUNDLED_CONFIG.num_classes)
    return drawn, "drawn ground: updates a second hold, what is learned means nothing (--shards gives rendered clips)"


def loader_batches_per_s(dataset: ClipDataset, recipe: Recipe, workers: int, seconds: float) -> float:
    """Batches a second of the loader with nobody training."""
    world = World(0, 1, torch.device("cpu"))
    order = ClipOrder(len(dataset), recipe, world, 0, MANY_STEPS, None)
    batches = iter(create_loader(dataset, order, Execution(workers=workers), pin=False))
    for _ in range(3):
        next(batches)
    start_s, count = time.perf_counter(), 0
    while time.perf_counter() - start_s < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - start_s)


def train_for(dataset: ClipDataset, recipe: Recipe, device: str, workers: int, seconds: float) -> dict[str, Any]:
    """Train from random weights for so long."""
    recipe = without_slow_bf16(recipe, [], torch.device(device))
    network = create_network(BUNDLED_CONFIG, seed=0, zero_init=False)
    loss = TimedLoss(seconds)
    execution = Execution(device=device, workers=workers, channels_last=True, progress=False,
                          checkpoint_every=MANY_STEPS, log_every=25)
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(TimeUp):
            train(network, dataset, recipe, Path(folder), execution=execution, loss=loss)
        log = [line for line in _log(Path(folder)) if "loss" in line]
    figures: dict[str, Any] = {
        "updates_per_s": round(loss.updates_per_s(), 3), "updates": len(loss.times_s), "batch": recipe.batch,
        "precision": recipe.precision, "seconds": round(loss.times_s[-1] - loss.times_s[0], 1), "workers": workers,
    }
    if log:
        figures["loss_first_and_last"] = [log[0]["loss"], log[-1]["loss"]]
    if device == "cuda":
        figures["memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return figures


def _log(folder: Path) -> list[dict[str, Any]]:
    from detector.training.journal import read_log

    return read_log(folder)
