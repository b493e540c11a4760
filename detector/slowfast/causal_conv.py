"""Temporal convolutions that look back only, so that features of past frames are computed once and kept.

A causal network has the tensors of the clip network and runs in two ways with one result:

- a whole clip at once, every temporal convolution padded on its left: for training;
- step by step: alpha new frames and the state of a camera in, features of this moment out.

The idea is that of stream buffers: MoViNets (Kondratyuk et al., CVPR 2021) and continual 3D convolutions (Hedegaard,
Iosifidis, ECCV 2022). What differs here: a convolution does not keep the frames that it has seen but what they add to
the answers still to come (overlap-add). A bottleneck's first convolution has four times as many channels coming in as
going out, so that this state is a quarter of the size, and in the slow pathway the convolution becomes a 1x1x1 one.

Where a camera starts, features before the first frame are zero, and before it come repetitions of the first picture.
This file knows convolutions alone; cameras and their states are in `detector.slowfast.causal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.slowfast.blocks import Bottleneck, Lateral, Stem


@dataclass
class Carry:
    """What goes from one step to the next: sums by a convolution's name.

    Attributes:
        past: of the step before; a name that is missing has none (zero).
        fresh: filled by the convolutions, for the next step.
    """

    past: Mapping[str, Tensor]
    fresh: dict[str, Tensor] = field(default_factory=dict)


class Carrying(nn.Module):
    """A module that takes part in steps.

    Attributes:
        state_name: under which its sums are kept.
        carry: of the step that is running, None outside of steps.
    """

    state_name: str
    carry: Carry | None = None


class CausalConv3d(nn.Conv3d, Carrying):
    """A convolution over time whose newest tap sits on the newest frame.

    Attributes:
        from_pictures: it sees pictures, not features: what comes before the first one repeats it, and a step brings
            the pictures before its own along, so that nothing has to be kept.
    """

    from_pictures = False

    @property
    def taps_before(self) -> int:
        """Frames before the first new one that its taps reach; negative where they do not reach all new ones."""
        return self.kernel_size[0] - self.stride[0]

    @property
    def sums_kept(self) -> int:
        """Answers to come that frames already seen add to."""
        return -(-max(self.taps_before, 0) // self.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T / stride, H', W']."""
        if self.carry is None:
            return self._whole(x)
        if self.from_pictures:
            return super().forward(x)
        if self.sums_kept == 0:
            return super().forward(x[:, :, -self.taps_before :] if self.taps_before < 0 else x)
        return self._step(x, self.carry)

    def _whole(self, x: Tensor) -> Tensor:
        before = self.taps_before
        if before < 0:
            return super().forward(x[:, :, -before:])
        if self.from_pictures:
            return super().forward(torch.cat([x[:, :, :1].expand(-1, -1, before, -1, -1), x], 2))
        return super().forward(F.pad(x, (0, 0, 0, 0, before, 0)))

    def _step(self, x: Tensor, carry: Carry) -> Tensor:
        kept = self.sums_kept
        before, after, padding = self.taps_before, kept * self.stride[0], self.padding
        if before == after:  # an engine pads for nothing where the convolution does it
            padding = (before, *self.padding[1:])
        else:
            x = F.pad(x, (0, 0, 0, 0, before, after))
        sums = F.conv3d(x, self.weight, None, self.stride, padding, self.dilation)  # type: ignore[arg-type]
        past = carry.past.get(self.state_name)
        if past is not None:
            sums = torch.cat([sums[:, :, :kept] + past, sums[:, :, kept:]], 2)
        answers = sums.shape[2] - kept
        carry.fresh[self.state_name] = sums[:, :, answers:]
        y = sums[:, :, :answers]
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1, 1)


def make_causal(network: nn.Module) -> None:
    """Replace every convolution that reaches over time, in place; parameters stay the same objects."""
    for name, module in list(network.named_modules()):
        if isinstance(module, Stem | Bottleneck | Lateral):
            child = {Stem: "conv", Bottleneck: "a", Lateral: "conv_f2s"}[type(module)]
            conv = getattr(module, child, None)
            if conv is not None and conv.kernel_size[0] > 1:
                setattr(module, child, _causal(conv, f"{name}.{child}", isinstance(module, Stem)))
        if isinstance(module, Lateral):
            module.newest = True


def _causal(conv: nn.Conv3d, name: str, from_pictures: bool) -> CausalConv3d:
    # On the meta device nothing is drawn, so that a seed gives the clip network's weights.
    with torch.device("meta"):
        made = CausalConv3d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
            (0, *conv.padding[1:]), conv.dilation, bias=conv.bias is not None,  # type: ignore[arg-type]
        )
    made.weight, made.bias = conv.weight, conv.bias
    made.state_name, made.from_pictures = name, from_pictures
    return made


@contextmanager
def carried(network: nn.Module, past: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Within this, the network's convolutions go on where `past` ended; gives the dictionary of fresh sums."""
    parts = [module for module in network.modules() if isinstance(module, Carrying)]
    carry = Carry(past)
    for part in parts:
        part.carry = carry
    try:
        yield carry.fresh
    finally:
        for part in parts:
            part.carry = None
