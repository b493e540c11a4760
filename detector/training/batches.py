"""From a map-style data set to batches whose order and randomness depend on nothing but the seed.

Clip number n of a run is the same clip, augmented the same way, whatever the number of processes, workers or
interruptions: the order follows from (seed, epoch), the augmentation from (seed, epoch, index).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detector.data.batches import Batch, ClipDataset, Item, collate, quiet_worker
from detector.errors import UserError
from detector.training.distributed import World
from detector.training.recipe import Execution, Recipe


class ClipOrder(Sampler[list[tuple[int, int]]]):
    """Which clips make each part of each update: lists of (epoch, index).

    Epochs follow each other without a gap, so that no clip is dropped and every update is full.

    Args:
        length: clips in the data set.
        recipe: for seed, batch and accumulation.
        world: this process takes its own part of every update.
        first_step: update to begin with; earlier ones are skipped without loading anything.
        last_step: update to stop before.
        weights: (length,) chance of each clip, drawn with replacement; None: each clip once an epoch.

    Raises:
        ValueError: the batch does not split evenly over processes and parts.
    """

    def __init__(
        self, length: int, recipe: Recipe, world: World, first_step: int, last_step: int,
        weights: np.ndarray | None = None,
    ):
        parts = world.size * recipe.accumulation
        if recipe.batch % parts:
            raise ValueError(
                f"batch: got {recipe.batch}, expected a multiple of {parts} "
                f"({world.size} processes x {recipe.accumulation} parts)"
            )
        # In float32 the chances would not add up to 1 well enough for numpy.
        weights = None if weights is None else np.asarray(weights, np.float64)
        if weights is not None and (len(weights) != length or not weights.sum() > 0 or weights.min() < 0):
            raise ValueError(f"weights: got {len(weights)} of sum {weights.sum()}, expected {length}, none negative")
        self.length, self.recipe, self.world = length, recipe, world
        self.first_step, self.last_step = first_step, last_step
        self.chances = None if weights is None else weights / weights.sum()

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.recipe.accumulation

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size = self.recipe.batch // self.world.size // self.recipe.accumulation
        for step in range(self.first_step, self.last_step):
            # One process with two parts and two processes with one see the same clips in an update.
            start = step * self.recipe.batch + self.world.rank * self.recipe.accumulation * size
            for part in range(self.recipe.accumulation):
                yield [self._clip(start + part * size + i) for i in range(size)]

    def _clip(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.length)
        return epoch, int(self._order(epoch)[place])

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_known_epoch", None) != epoch:
            rng = np.random.default_rng([self.recipe.seed, epoch])
            if self.chances is None:
                order = rng.permutation(self.length)
            else:
                order = rng.choice(self.length, self.length, p=self.chances)
            self._known_epoch, self._known_order = epoch, order
        return self._known_order


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed `random`, `numpy.random` and torch's CPU generator, and put back what was there."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # data sets of others use the global generator
    torch.random.default_generator.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class SeededClips(Dataset[Item]):
    """A data set asked for (epoch, index): its randomness depends on these and the seed alone."""

    def __init__(self, dataset: ClipDataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Item:
        with seeded(self.seed, *key):
            return self.dataset[key[1]]


def next_batch(batches: Iterator[Batch]) -> Batch:
    """The next batch; a user's mistake that a loading process found keeps its one line.

    Raises:
        UserError: a clip cannot be loaded.
    """
    try:
        return next(batches)
    except UserError as error:
        # PyTorch puts the worker's whole traceback into the message.
        line = str(error).strip().splitlines()[-1]
        raise UserError(line.removeprefix("detector.errors.UserError: ")) from None


def create_loader(dataset: ClipDataset, order: ClipOrder, execution: Execution, pin: bool = False) -> DataLoader[Any]:
    """Batches of a data set in that order, loaded ahead by `execution.workers` processes."""
    more: dict[str, Any] = {"prefetch_factor": execution.prefetch} if execution.workers else {}
    return DataLoader(
        SeededClips(dataset, order.recipe.seed), batch_sampler=order, collate_fn=collate,
        num_workers=execution.workers, worker_init_fn=quiet_worker, pin_memory=pin, **more,
    )
