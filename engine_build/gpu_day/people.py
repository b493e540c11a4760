"""The person detector: torchvision's Faster R-CNN whole, and its convolutional part in each precision and mode."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detector.person.faster_rcnn_torchvision import people_in
from engine_build.clips import drawn_picture
from engine_build.cuda_graphs import Graphed
from engine_build.gpu_day.actions import BATCHES, QUICK_BATCHES, WORTH_BEGINNING_S
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.timing import matrix_peaks, percentiles_ms, time_calls, time_on_device
from engine_build.person_part import ConvolutionalPart, copied_part, fold_batch_norms

SIZE_HW, QUICK_HW = (1080, 1920), (90, 160)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VARIANTS = (("fp32", "plain"), ("bf16", "graphs"), ("fp16", "graphs"), ("bf16", "compiled_graphs"), ("fp32", "graphs"),
            ("fp16", "channels_last"), ("fp16", "compiled_graphs"))
COMPILED_BATCHES = (1, 8)


class Part(nn.Module):
    """The convolutional part in one type; its outputs as one flat row a picture, so that batches are compared."""

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.part, self.dtype = copied_part(network), dtype
        fold_batch_norms(self.part)
        self.part.to(dtype)

    def forward(self, pictures: Tensor) -> Tensor:
        """Tensor[B, 3, H, W] float32 → Tensor[B, N] float32."""
        outputs = self.part(pictures.to(self.dtype))
        return torch.cat([output.flatten(1).float() for output in outputs], 1)


def create_network(quick: bool) -> Any:
    """torchvision's detector for GPUs with random weights: their speed is that of trained ones, boxes aside."""
    from torchvision.models import detection

    torch.manual_seed(0)
    if quick:
        network = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, min_size=64, max_size=96,
        )
    else:
        network = detection.fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    return _settled(network)


def _settled(network: Any) -> Any:
    """Batch norms get the statistics of a picture: without them numbers vanish on their way, in fp16 altogether."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    network.train()
    with torch.no_grad():
        ConvolutionalPart(network)(torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(0)))
    return network.eval()


def run(context: Context) -> None:
    """Measure the whole detector, then the part that engines run."""
    network = create_network(context.quick)
    context.put("network", "torchvision_mobilenet" if context.quick else "torchvision_resnet50")
    context.put("weights", "random: no boxes to refine, so the detector's own head has least to do")
    whole_detector(context, network)
    peaks = matrix_peaks(context.device, context.quick)
    size_hw = transformed_hw(network, QUICK_HW if context.quick else SIZE_HW)
    context.put("picture_hw", list(size_hw))
    gmacs = part_gmacs(network, size_hw)
    context.put("gmacs_per_picture", round(gmacs, 3))
    pictures = torch.randn(1, 3, *size_hw)
    with torch.inference_mode():
        expected = Part(network, torch.float32)(pictures)
    for precision, mode in VARIANTS:
        if context.left_s() < WORTH_BEGINNING_S:
            context.put("parts", f"{precision} {mode}", {"why": "no time left"})
            continue
        measure_part(context, network, (precision, mode), pictures, expected, peaks[precision], gmacs)


def whole_detector(context: Context, network: Any) -> None:
    """Pictures to boxes as the product runs it, in fp32 and with autocast."""
    device = torch.device(context.device)
    moved = copy.deepcopy(network).to(device)
    image = drawn_picture(QUICK_HW if context.quick else SIZE_HW)
    for precision in ("fp32", "fp16"):
        if precision == "fp16" and context.device == "cpu":
            continue
        scope = torch.autocast(context.device, torch.float16) if precision == "fp16" else nullcontext()
        with scope:
            times_s = time_calls(lambda: people_in(moved, image, 0.8, device), context.device,
                                 seconds=0.0 if context.quick else 3.0,
                                 least=1 if context.quick else 5)
        context.put("whole", precision, percentiles_ms(times_s))
        context.report(f"whole detector {precision}: {np.median(times_s) * 1e3:.1f} ms a picture")


def measure_part(
    context: Context, network: Any, variant: tuple[str, str], pictures: Tensor, expected: Tensor, peak: float,
    gmacs: float,
) -> None:
    """One precision and mode: the error of its outputs, then its speed at each batch."""
    precision, mode = variant
    name = f"{precision} {mode}"
    function, done = _prepared(context, network, precision, mode)
    with torch.inference_mode(), torch.backends.cudnn.flags(benchmark=True, allow_tf32=precision != "fp32"):
        found = function(pictures.to(context.device)).cpu()
        error = float((found - expected).norm() / expected.norm())
        context.put("parts", name, "feature_error", error)
        every = QUICK_BATCHES[:1] if context.quick else BATCHES
        for batch in every if "compiled" not in mode or context.quick else COMPILED_BATCHES:
            if context.left_s() < WORTH_BEGINNING_S:
                break
            try:
                given = torch.randn(batch, *pictures.shape[1:], device=context.device)
                seconds = time_on_device(partial(function, given), context.device, 1 if context.quick else 30)
            except torch.cuda.OutOfMemoryError:
                context.put("parts", name, f"batch {batch}", {"why": "out of memory"})
                break
            share = 2 * gmacs / 1e3 * batch / seconds / peak
            context.put("parts", name, f"batch {batch}", {
                "pictures_per_s": round(batch / seconds, 2), "ms": round(seconds * 1e3, 3),
                "share_of_peak": round(share, 4),
            })
            context.report(f"part {name} batch {batch}: {batch / seconds:.1f} pictures/s, {share:.0%} of the peak")
    done()


def _prepared(
    context: Context, network: Any, precision: str, mode: str
) -> tuple[Callable[[Tensor], Tensor], Callable[[], None]]:
    """The part as a function, and what frees it."""
    part: Any = Part(network, DTYPES[precision]).to(context.device)
    if mode != "plain":
        part = part.to(memory_format=torch.channels_last)
    function: Any = part
    if "compiled" in mode:
        function = torch.compile(part, dynamic=False, backend="eager" if context.quick else "inductor")
    graphed = Graphed(function) if mode.endswith("graphs") and context.device == "cuda" else None

    def free() -> None:
        if graphed is not None:
            graphed.close()
        torch._dynamo.reset()
        if context.device == "cuda":
            torch.cuda.empty_cache()

    return graphed or function, free


def transformed_hw(network: Any, size_hw: tuple[int, int]) -> tuple[int, int]:
    """What torchvision's transform makes of a picture of that size."""
    images, _ = network.transform([torch.zeros(3, *size_hw)])
    return int(images.tensors.shape[2]), int(images.tensors.shape[3])


def part_gmacs(network: Any, size_hw: tuple[int, int]) -> float:
    """Billions of multiply-adds of the part for one picture, counted on shapes alone."""
    part = copied_part(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(torch.empty(1, 3, *size_hw, device="meta"))
    return counter.get_total_flops() / 2 / 1e9
