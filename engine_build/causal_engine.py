"""What every causal engine can do, whatever runs its steps, and the one that is torch itself.

An engine keeps a row of state for each camera. It is loaded, run and freed in one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from detector.slowfast.network import ActionNetwork
from engine_build.causal_graph import StepGraph
from engine_build.causal_states import CameraStates
from engine_build.export import DTYPES
from engine_build.graphs import HeadGraph


class StepRunner(Protocol):
    """Runs a `StepGraph`.

    Attributes:
        description: `openvino int8`.
        device: where frames, sums and features are.
        dtype: of the sums.
    """

    description: str
    device: torch.device
    dtype: torch.dtype

    def run(self, frames: Tensor, past: list[Tensor], fresh: list[Tensor]) -> Tensor:
        """frames (B, P + n, h, w, 3) uint8 and past sums → features of this step (B, C, h, w); writes fresh sums."""
        ...

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        ...


class CausalEngine:
    """An action network that looks back only, made fast, and the state of its cameras.

    Attributes:
        description: as shown in the status line: `causal openvino bf16`.
        num_classes: A, columns of the scores.
        states: the cameras.
    """

    def __init__(self, network: ActionNetwork, runner: StepRunner, graph: StepGraph, size_hw: tuple[int, int]) -> None:
        """
        Args:
            network: causal; its head is copied.
            runner: of its steps; freed with the engine.
            graph: that the runner's was made from; only shapes are taken.
            size_hw: of the frames, in pixels.
        """
        self.description = f"causal {runner.description}"
        self.num_classes = network.config.num_classes
        self.size_hw = size_hw
        self._runner: Any = runner
        self._head: Any = HeadGraph(network).to(runner.device)
        self.states = CameraStates(
            network.config, size_hw, graph.sum_shapes(size_hw), graph.feature_shape(size_hw), runner.dtype,
            runner.device,
        )

    def open_camera(self) -> int:
        """A row for a camera, with nothing seen yet."""
        return self.states.open()

    def close_camera(self, row: int) -> None:
        """Give a row back."""
        self.states.close(row)

    def reset(self, row: int) -> None:
        """Forget what a camera has shown: after a gap."""
        self.states.reset(row)

    def run_step(self, frames: np.ndarray, rows: Sequence[int]) -> Tensor:
        """One step of some cameras.

        Args:
            frames: (B, n, h, w, 3) uint8 RGB, the new ones of each, oldest first.
            rows: of the B cameras.

        Returns:
            (B, C, h, w) features of their newest frames, to keep.

        Raises:
            ValueError: frames of another shape or type, or rows that are not open.
        """
        return self.states.run(torch.from_numpy(np.ascontiguousarray(frames)), rows, self._runner.run)

    def run_head(self, features: Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_step` and rois (K, 5) float32 `(batch index, box)` in pixels → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        rows = torch.from_numpy(np.ascontiguousarray(rois, np.float32)).to(features.device)
        with torch.inference_mode():
            return self._head(features.float(), rows).cpu().numpy()

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        self._runner.close()
        self._head = None


class TorchSteps:
    """A `StepGraph` run by torch, on the CPU or a GPU."""

    def __init__(self, graph: StepGraph, precision: str = "fp32", device: str = "cpu") -> None:
        self.description = f"torch {'cuda ' if device == 'cuda' else ''}{precision}"
        self.device, self.dtype = torch.device(device), DTYPES[precision]
        self._graph: Any = graph.to(self.device)

    def run(self, frames: Tensor, past: list[Tensor], fresh: list[Tensor]) -> Tensor:
        """See `StepRunner`."""
        newest, *sums = self._graph(frames, *past)
        for target, value in zip(fresh, sums):
            target.copy_(value)
        return newest

    def close(self) -> None:
        """Free the weights."""
        self._graph = None


def run_torch_steps(network: ActionNetwork, size_hw: tuple[int, int], precision: str, device: str) -> CausalEngine:
    """A causal engine that is torch itself."""
    graph = StepGraph(network, DTYPES[precision])
    return CausalEngine(network, TorchSteps(graph, precision, device), graph, size_hw)


def step_file(folder: Path, target: str) -> Path:
    """Where a step's graph or engine lies in an engine's folder."""
    return folder / ("step.xml" if target == "openvino" else "step.engine")
