"""A causal step in OpenVINO on the CPU: sums are plain inputs and outputs, in memory that the cameras' rows own.

Not OpenVINO's own states: without an initial value its CPU plugin refuses them, and a state that belongs to a request
forbids batches of cameras.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detector.errors import UserError
from engine_build.causal_graph import StepGraph
from engine_build.graphs import trace
from engine_build.libraries import cpu_core, require
from engine_build.run_openvino import MAX_BATCHES, compile_cpu

EXAMPLE_PX = 64


def convert_step(graph: StepGraph, size_hw: tuple[int, int]) -> Any:
    """Turn a step into an OpenVINO model with an open batch.

    Returns:
        `openvino.Model`: frames (?, P + n, h, w, 3) uint8 and sums → features (?, C, h / 16, w / 16) and sums.

    Raises:
        UserError: OpenVINO is missing, or does not know an operation of the graph.
    """
    openvino = require("openvino")
    small = tuple(min(size, EXAMPLE_PX) for size in size_hw)
    example = (torch.zeros((1, *graph.step_shape(small)), dtype=torch.uint8), *graph.zeros(1, small))  # type: ignore[arg-type]
    try:
        model = openvino.convert_model(trace(graph, example), example_input=example)
        shapes = [graph.step_shape(size_hw), *graph.sum_shapes(size_hw)]
        model.reshape({port: [-1, *shape] for port, shape in zip(model.inputs, shapes, strict=True)})
    except Exception as error:  # OpenVINO raises bare RuntimeErrors of many kinds
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"openvino cannot convert this network ({first[:200]}); run with --engine torch") from error
    for port, name in zip(model.inputs, ["frames", *graph.names]):
        port.tensor.set_names({name})
    for port, name in zip(model.outputs, ["features", *graph.names]):
        port.tensor.set_names({f"fresh {name}" if name != "features" else name})
    return model


class OpenVinoSteps:
    """A step's file run by OpenVINO; see `causal_engine.StepRunner`. Compiled for each batch when first asked for."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, precision: str) -> None:
        """
        Args:
            path: of the `.xml`.
            precision: `fp32`, `bf16` or `int8`.

        Raises:
            UserError: OpenVINO is missing or refuses the file.
        """
        self.description = f"openvino {precision}"
        self._precision = precision
        self._requests: OrderedDict[int, Any] = OrderedDict()
        try:
            self._model: Any = cpu_core().read_model(str(path))
        except RuntimeError as error:
            raise UserError(f"openvino cannot read {path} ({str(error)[:200]}); delete it and build again") from error
        self._tensor = require("openvino").Tensor
        self._request(1)

    def run(self, frames: Tensor, past: list[Tensor], fresh: list[Tensor]) -> Tensor:
        """See `StepRunner`; the features are good until the next step."""
        request = self._request(len(frames))
        request.set_input_tensor(0, self._tensor(frames.numpy(), shared_memory=True))
        for i, (before, after) in enumerate(zip(past, fresh), start=1):
            request.set_input_tensor(i, self._tensor(before.numpy(), shared_memory=True))
            request.set_output_tensor(i, self._tensor(after.numpy(), shared_memory=True))
        request.infer()
        return torch.from_numpy(request.get_output_tensor(0).data)

    def close(self) -> None:
        """Free the compiled graphs."""
        self._requests.clear()
        self._model = None

    def _request(self, batch: int) -> Any:
        if batch in self._requests:
            self._requests.move_to_end(batch)
            return self._requests[batch]
        model = self._model.clone()
        model.reshape({port: [batch, *list(port.partial_shape)[1:]] for port in model.inputs})
        self._requests[batch] = compile_cpu(model, self._precision).create_infer_request()
        if len(self._requests) > MAX_BATCHES:
            self._requests.popitem(last=False)
        return self._requests[batch]
