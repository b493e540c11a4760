"""The network as graphs to convert: the trunk (uint8 frames to features) and the head (features and boxes to scores).

Torch modules only; what turns them into files is in `export.py` and the engines. A graph is a copy: the network that
it came from is left as it was.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detector.slowfast.network import ActionNetwork


class TrunkGraph(nn.Module):
    """frames (B, T, h, w, 3) uint8 RGB → features (B, C, h / 16, w / 16) float32, ready to trace.

    Colours are normalised in float32 whatever the precision: bfloat16 has too few bits for x / 255 - 0.45.
    """

    def __init__(self, network: ActionNetwork, dtype: torch.dtype = torch.float32) -> None:
        """
        Args:
            network: fp32; copied.
            dtype: of everything between the stems and the temporal average.
        """
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        fold_batch_norms(self.network)
        if dtype != torch.float32:
            set_trunk_dtype(self.network, dtype)

    def forward(self, frames: Tensor) -> Tensor:
        """Run the trunk."""
        # TensorRT takes uint8 only straight into a cast; the network skips its checks while it is traced.
        given = frames.float() if torch.jit.is_tracing() else frames
        network: ActionNetwork = self.network
        return ActionNetwork.forward_trunk(network, given).float()


class CastBefore(nn.Module):
    """A module that gets its input in another floating-point type."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, x: Tensor) -> Tensor:
        """Cast, then run."""
        return self.module(x.to(self.dtype))


def set_trunk_dtype(network: ActionNetwork, dtype: torch.dtype) -> None:
    """Change the trunk's type in place; frames are still normalised in the head's type (float32)."""
    for name, stage in network.named_children():
        if name != "head":
            stage.to(dtype)
    for name, stem in list(network.s1.named_children()):
        setattr(network.s1, name, CastBefore(stem, dtype))


class HeadGraph(nn.Module):
    """features (B, C, h, w) float32 and ROI rows (K, 5) float32 → scores (K, A) float32."""

    def __init__(self, network: ActionNetwork) -> None:
        super().__init__()
        self.head = copy.deepcopy(network.head).eval().requires_grad_(False)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Run the head."""
        return self.head(features, rois)


def fold_batch_norms(module: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it, in place: `x` + `x_bn`, or `conv...` + `bn`.

    Args:
        module: in eval mode. Every pair must follow the naming of `detector.slowfast.blocks`.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.BatchNorm3d):
                continue
            partner = _convolution_before(parent, name)
            convolution = getattr(parent, partner)
            setattr(parent, partner, fuse_conv_bn_eval(convolution, child))
            setattr(parent, name, nn.Identity())


def trace(graph: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Record a graph with sizes of `example`; small ones are as good as large ones and much quicker."""
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing is what both OpenVINO's converter and the ONNX exporter of this structure take.
        warnings.simplefilter("ignore")
        return torch.jit.trace(graph, example, check_trace=False)


def _convolution_before(parent: nn.Module, norm: str) -> str:
    if norm.endswith("_bn"):
        return norm[: -len("_bn")]
    convolutions = [n for n, child in parent.named_children() if isinstance(child, nn.Conv3d)]
    if "conv_out" in convolutions:  # a non-local block: theta, phi and g have no norm
        return "conv_out"
    if len(convolutions) != 1:
        raise ValueError(f"{type(parent).__name__}.{norm}: got convolutions {convolutions}, expected one to fold into")
    return convolutions[0]
