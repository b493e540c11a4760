"""Random weights that behave like trained ones as far as speed and rounding go."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from detector.views import TubeView
from engine_build.clips import drawn_clips, engine_input, usual_size

# Frames that statistics are taken on: large enough for them, small enough to be quick.
SMALL_HW = (128, 170)


def settle_statistics(model: Any, network: Any) -> None:
    """Give a random network's batch norms the statistics of a drawn clip, so that its activations have a usual size."""
    if isinstance(model.view, TubeView):
        size_hw = model.view.size_px, model.view.size_px
    else:
        size_hw = SMALL_HW if model.view.short_side_px >= 256 else usual_size(model)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    clip = drawn_clips(model, size_hw, 1)[0]
    with torch.no_grad():
        network.forward_trunk(torch.from_numpy(engine_input(model, clip, size_hw)[0]))
    network.eval()
    network.random_weights = True
    nn.init.normal_(network.head.projection.weight, std=0.05, generator=torch.Generator().manual_seed(0))
