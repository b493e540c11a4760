"""A causal network's step as a graph to convert: frames and sums in, features of this step and the next sums out.

The graph holds no state and gives back no ring: what comes out of one step goes into the next as it is, so that whoever
runs it swaps two sets of buffers and copies nothing. Torch modules only, as `graphs.py`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from detector.slowfast.blocks import Bottleneck
from detector.slowfast.causal import state_shapes, step_trunk
from detector.slowfast.causal_conv import Carrying, CausalConv3d
from detector.slowfast.network import ActionNetwork
from engine_build.graphs import fold_batch_norms, set_trunk_dtype
from engine_build.rewrite import pair_fast_stem


class TapConv(Carrying):
    """A Tx1x1 convolution of one new frame as a 1x1x1 one: each tap has output channels of its own.

    The newest tap's are this step's answer, the others' go into the sums for later ones. The sums' layout is
    (B, (T - 1) * C', 1, H, W), the next step's first.
    """

    def __init__(self, conv: CausalConv3d) -> None:
        super().__init__()
        taps, c_out = conv.kernel_size[0], conv.out_channels
        self.state_name, self.channels, self.later = conv.state_name, c_out, taps - 1
        weight = torch.cat([conv.weight.detach()[:, :, tap : tap + 1] for tap in reversed(range(taps))], 0)
        self.conv = nn.Conv3d(conv.in_channels, taps * c_out, 1, bias=conv.bias is not None)
        self.conv.weight = nn.Parameter(weight, requires_grad=False)
        if conv.bias is not None:
            none = torch.zeros(self.later * c_out, dtype=weight.dtype)
            self.conv.bias = nn.Parameter(torch.cat([conv.bias.detach(), none]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, 1, H, W] → Tensor[B, C', 1, H, W]."""
        assert self.carry is not None
        c = self.channels
        sums = self.conv(x)
        past = self.carry.past.get(self.state_name)
        now, later = sums[:, :c], sums[:, c:]
        if past is not None:
            now = now + past[:, :c]
            later = torch.cat([later[:, : (self.later - 1) * c] + past[:, c:], later[:, (self.later - 1) * c :]], 1)
        self.carry.fresh[self.state_name] = later
        return now


class StepGraph(nn.Module):
    """frames (B, P + n, h, w, 3) uint8 RGB and sums → features of the step (B, C, h / 16, w / 16) float32 and sums.

    Attributes:
        names: of the sums, in the order of inputs and outputs.
        dtype: of the sums.
    """

    def __init__(
        self, network: ActionNetwork, dtype: torch.dtype = torch.float32, paired_stem: bool = False
    ) -> None:
        """
        Args:
            network: causal, fp32; copied.
            dtype: of everything between the stems and the average over the step.
            paired_stem: with `rewrite.PairedStem`.
        """
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.dtype = dtype
        fold_batch_norms(self.network)
        self._tapped: set[str] = set()
        for name, module in list(self.network.named_modules()):
            if isinstance(module, Bottleneck) and ".pathway0_" in name and isinstance(module.a, CausalConv3d):
                self._tapped.add(module.a.state_name)
                module.a = TapConv(module.a)  # type: ignore[assignment]
        parts = [m for m in self.network.modules() if isinstance(m, TapConv)
                 or (isinstance(m, CausalConv3d) and m.sums_kept and not m.from_pictures)]
        self.names = [part.state_name for part in parts]
        config = network.config
        if paired_stem and config.has_fast and config.frames_per_step % 2 == 0:
            pair_fast_stem(self.network)
        if dtype != torch.float32:
            set_trunk_dtype(self.network, dtype)

    def forward(self, frames: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Run a step."""
        given = frames.float() if torch.jit.is_tracing() else frames
        newest, fresh = step_trunk(self.network, given, dict(zip(self.names, past, strict=True)))
        return newest.float(), *(fresh[name] for name in self.names)

    def step_shape(self, size_hw: tuple[int, int]) -> tuple[int, ...]:
        """(P + n, h, w, 3) of the frames."""
        config = self.network.config
        return config.pictures_kept + config.frames_per_step, *size_hw, 3

    def sum_shapes(self, size_hw: tuple[int, int]) -> list[tuple[int, ...]]:
        """Of each of the sums, without the batch."""
        shapes, _ = state_shapes(self.network.config, size_hw)
        return [
            (shapes[name][0] * shapes[name][1], 1, *shapes[name][2:]) if name in self._tapped else shapes[name]
            for name in self.names
        ]

    def input_shapes(self, size_hw: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Of all inputs by name, without the batch: frames first, then the sums."""
        return {"frames": self.step_shape(size_hw), **dict(zip(self.names, self.sum_shapes(size_hw), strict=True))}

    def feature_shape(self, size_hw: tuple[int, int]) -> tuple[int, ...]:
        """(C, h, w) of a step's features."""
        return state_shapes(self.network.config, size_hw)[1]

    def zeros(self, batch: int, size_hw: tuple[int, int]) -> list[Tensor]:
        """Sums of cameras that have shown nothing."""
        return [torch.zeros((batch, *shape), dtype=self.dtype) for shape in self.sum_shapes(size_hw)]
