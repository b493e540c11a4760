"""The part of torchvision's Faster R-CNN that an engine runs, as a graph to convert: backbone, FPN and the RPN's head.

Torch modules and what turns them into OpenVINO's model or ONNX; the detector round them is in `person.py`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine_build.build_tensorrt import PictureProfile
from engine_build.export import DTYPES, export_pictures
from engine_build.graphs import trace
from engine_build.libraries import require


class ConvolutionalPart(nn.Module):
    """picture (1, 3, H, W) float32 normalised → feature maps, then objectness, then deltas of each FPN level."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.rpn.head

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Run backbone, FPN and RPN head."""
        features = self.backbone(picture)
        maps = list(features.values()) if isinstance(features, dict) else [features]
        objectness, deltas = self.head(maps)
        return (*maps, *objectness, *deltas)


class InType(nn.Module):
    """A convolutional part that computes in another floating-point type; float32 goes in and comes out."""

    def __init__(self, part: ConvolutionalPart, dtype: torch.dtype) -> None:
        super().__init__()
        self.part, self.dtype = part.to(dtype), dtype

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """As the part."""
        return tuple(output.float() for output in self.part(picture.to(self.dtype)))


def copied_part(network: Any) -> ConvolutionalPart:
    """The part of a network on any device, on the CPU."""
    part = copy.deepcopy(ConvolutionalPart(network)).cpu().eval()
    return part.requires_grad_(False)


def convert_convolutional_part(network: Any) -> Any:
    """The part as an OpenVINO model with open height and width."""
    openvino = require("openvino")
    example = torch.zeros(1, 3, 320, 320)
    recorded = trace(copied_part(network), (example,))
    model = openvino.convert_model(recorded, example_input=example)
    model.reshape([1, 3, -1, -1])
    return model


def export_convolutional_part(network: Any, path: Path, precision: str) -> None:
    """Write the part as ONNX with open height and width, its operations in `fp32` or `fp16`.

    Raises:
        UserError: onnx or onnxslim is missing.
    """
    part: nn.Module = copied_part(network)
    if precision != "fp32":
        # Before weights are rounded: what a batch norm scales up would be scaled with its error.
        fold_batch_norms(part)
        part = InType(part, DTYPES[precision])  # type: ignore[arg-type]
    export_pictures(part, output_names(network), path)


def output_names(network: Any) -> list[str]:
    """Names of the part's outputs in its order: `map_0 ...`, `objectness_0 ...`, `deltas_0 ...`."""
    maps = map_names(network)
    return [f"{kind}_{name}" for kind in ("map", "objectness", "deltas") for name in maps]


def picture_profile(transform: Any) -> PictureProfile:
    """The sizes that torchvision's transform can make of a picture; the usual one is that of 16:9."""
    step, shortest, longest = transform.size_divisible, transform.min_size[-1], transform.max_size
    scale = min(shortest / 9, longest / 16)

    def padded(length_px: float) -> int:
        return -(-int(length_px) // step) * step

    most = padded(longest)
    return PictureProfile((step, step), (padded(9 * scale), padded(16 * scale)), (most, most))


def fold_batch_norms(module: nn.Module) -> None:
    """Multiply each batch norm into the convolution registered just before it, in place: torchvision's order."""
    from torchvision.ops import FrozenBatchNorm2d

    for parent in list(module.modules()):
        before, convolution = "", None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d | FrozenBatchNorm2d) and isinstance(convolution, nn.Conv2d):
                setattr(parent, before, fuse_conv_bn_eval(convolution, child))  # type: ignore[type-var]
                setattr(parent, name, nn.Identity())
            before, convolution = name, child


def map_names(network: Any) -> list[str]:
    """Keys of the feature maps that the backbone gives."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, 64, 64, device=device))
    return list(features) if isinstance(features, dict) else ["0"]
