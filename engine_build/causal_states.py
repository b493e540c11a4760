"""What a causal engine remembers of its cameras: a row each, in memory that steps swap and never copy.

Sums exist twice: a step reads one set and writes the other, then they change places. Cameras that stand side by side
and have taken the same number of steps run as they lie; any others are gathered into buffers of their own and
scattered back. Torch tensors only, on the engine's device; what runs a step sees plain buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detector.slowfast.causal import Window
from detector.slowfast.config import SlowFastConfig

# Runs a step: (frames (B, P + n, h, w, 3), past sums, fresh sums to write) → features of the step (B, C, h, w).
Run = Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]


class CameraStates:
    """The rows of all cameras of one engine. Used in the engine's thread.

    Attributes:
        copied_bytes: of sums, in steps so far, because cameras did not lie as they ran.
    """

    _pictures: Tensor
    _sums: list[list[Tensor]]
    _window: Window

    def __init__(
        self, config: SlowFastConfig, size_hw: tuple[int, int], sums: Sequence[tuple[int, ...]],
        features: tuple[int, ...], dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu",
    ) -> None:
        """
        Args:
            config: of the network.
            size_hw: of the frames, in pixels.
            sums: shape of each of the sums, without the batch.
            features: (C, h, w) of a step's features.
            dtype: of the sums.
            device: where they live.
        """
        self._config, self._size_hw = config, size_hw
        self._sum_shapes, self._features = list(sums), features
        self._dtype, self._device = dtype, device
        self._kept, self._new = config.pictures_kept, config.frames_per_step
        self._free: list[int] = []
        self.copied_bytes = 0
        self._steps: list[int] = []
        self._sides: list[int] = []
        self._allocate(0)

    @property
    def rows(self) -> int:
        """Cameras that there is room for."""
        return len(self._steps)

    @property
    def bytes_per_camera(self) -> int:
        """Memory that a camera takes: pictures, both sets of sums, ring and running sum."""
        sums = sum(torch.Size(shape).numel() for shape in self._sum_shapes)
        pictures = torch.Size((self._kept, *self._size_hw, 3)).numel()
        window = (self._config.window_steps + 1) * torch.Size(self._features).numel()
        return pictures + 2 * sums * torch.empty((), dtype=self._dtype).element_size() + 4 * window

    @property
    def bytes_per_step(self) -> int:
        """What a step reads and writes of a camera's sums and ring: the traffic that a clip network does not have."""
        sums = sum(torch.Size(shape).numel() for shape in self._sum_shapes)
        return 2 * sums * torch.empty((), dtype=self._dtype).element_size() + 16 * torch.Size(self._features).numel()

    def open(self) -> int:
        """A row for a new camera, reset."""
        if not self._free:
            self._allocate(max(1, 2 * self.rows))
        row = min(self._free)
        self._free.remove(row)
        # On the side of those that are there, so that it can run with them as it lies.
        self._sides[row] = next((self._sides[r] for r in range(self.rows) if r != row and r not in self._free), 0)
        self.reset(row)
        return row

    def close(self, row: int) -> None:
        """Give a camera's row back."""
        self._check([row])
        self._free.append(row)

    def reset(self, row: int) -> None:
        """Forget what a camera has shown."""
        with torch.inference_mode():
            self._steps[row] = 0
            for sums in self._sums[self._sides[row]]:
                sums[row].zero_()

    def run(self, frames: Tensor, rows: Sequence[int], run: Run) -> Tensor:
        """One step of some cameras.

        Args:
            frames: (B, n, h, w, 3) uint8, new ones, of each camera; on any device.
            rows: B different ones.
            run: computes it.

        Returns:
            (B, C, h, w) features of each camera's moment: the mean over its last steps.

        Raises:
            ValueError: frames of another shape or type, or rows that are not open.
        """
        rows = list(rows)
        self._check(rows)
        expected = (len(rows), self._new, *self._size_hw, 3)
        if tuple(frames.shape) != expected or frames.dtype != torch.uint8:
            raise ValueError(f"frames: got {tuple(frames.shape)} {frames.dtype}, expected {expected} torch.uint8")
        with torch.inference_mode():
            given = self._with_pictures(frames, rows)
            past, fresh, scatter = self._buffers(rows)
            newest = run(given, past, fresh)
            if scatter:
                self._scatter(rows, fresh)
            for i, row in enumerate(rows):
                self._sides[row] ^= 1
                self._pictures[row] = given[i, self._new :]
            means = self._window.add(newest, rows, [self._steps[row] for row in rows])
        for row in rows:
            self._steps[row] += 1
        return means

    def _check(self, rows: list[int]) -> None:
        bad = [row for row in rows if not 0 <= row < self.rows or row in self._free]
        if bad or len(set(rows)) < len(rows):
            raise ValueError(f"cameras: got rows {rows}, expected different ones that are open")

    def _with_pictures(self, frames: Tensor, rows: list[int]) -> Tensor:
        given = torch.empty(
            (len(rows), self._kept + self._new, *self._size_hw, 3), dtype=torch.uint8, device=self._device
        )
        given[:, self._kept :] = frames
        for i, row in enumerate(rows):
            given[i, : self._kept] = self._pictures[row] if self._steps[row] else given[i, self._kept : self._kept + 1]
        return given

    def _buffers(self, rows: list[int]) -> tuple[list[Tensor], list[Tensor], bool]:
        """Past and fresh sums of the batch, and whether the fresh ones must be brought to their rows."""
        first, count, side = rows[0], len(rows), self._sides[rows[0]]
        if rows == list(range(first, first + count)) and all(self._sides[row] == side for row in rows):
            pairs = [self._sums[s] for s in (side, side ^ 1)]
            past, fresh = ([sums[first : first + count] for sums in each] for each in pairs)
            return past, fresh, False
        past = [
            torch.stack([self._sums[self._sides[row]][i][row] for row in rows]) for i in range(len(self._sum_shapes))
        ]
        self.copied_bytes += sum(sums.nbytes for sums in past)
        return past, [torch.empty_like(sums) for sums in past], True

    def _scatter(self, rows: list[int], fresh: list[Tensor]) -> None:
        # All to one side, so that cameras that go on together run as they lie from now on.
        side = self._sides[rows[0]] ^ 1
        for i, sums in enumerate(fresh):
            for row, value in zip(rows, sums):
                self._sums[side][i][row] = value
        self.copied_bytes += sum(sums.nbytes for sums in fresh)
        for row in rows:
            self._sides[row] = side ^ 1

    def _allocate(self, rows: int) -> None:
        old = self.rows
        kept = (self._pictures, self._sums, self._window) if old else None
        with torch.inference_mode():
            self._pictures = torch.zeros((rows, self._kept, *self._size_hw, 3), dtype=torch.uint8, device=self._device)
            self._sums = [
                [torch.zeros((rows, *s), dtype=self._dtype, device=self._device) for s in self._sum_shapes]
                for _ in range(2)
            ]
            like = torch.empty((), device=self._device)
            self._window = Window(rows, self._config.window_steps, self._features, like)
            if kept is not None:
                self._pictures[:old] = kept[0]
                self._window.recent[:old], self._window.total[:old] = kept[2].recent, kept[2].total
                for mine, theirs in zip(self._sums, kept[1]):
                    for new, before in zip(mine, theirs):
                        new[:old] = before
        self._free += range(old, rows)
        self._steps += [0] * (rows - old)
        self._sides += [0] * (rows - old)
