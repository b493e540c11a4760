"""Exact rewrites of a network for engines that like other shapes of the same arithmetic.

Each works in place on a copy with folded batch norms (`graphs.py`) and changes no result beyond the order of sums.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.slowfast.blocks import Stem


def to_2d(network: nn.Module) -> None:
    """Replace every 3-D convolution by a 2-D one: for ONNX Runtime and TensorRT, whose 2-D kernels are better.

    1xkxk: time is folded into the batch. Tx1x1 (and 1x1x1): height and width become one axis, and the kernel is
    (T, 1); that needs no data to move. TxSxS (the fast stem): the taps in time become channels, then as 1xkxk.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d):
                setattr(parent, name, _two_d(child))


def _two_d(conv: nn.Conv3d) -> nn.Module:
    temporal, *spatial = conv.kernel_size
    if max(spatial) == 1 and conv.stride[1] == conv.stride[2] == 1:
        return TemporalConv(conv)
    if temporal == 1:
        return SpatialConv(conv)
    return StackedConv(conv)


class SpatialConv(nn.Module):
    """A 1xkxk convolution as a 2-D one over B * T pictures."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.conv = _conv2d(conv, conv.weight[:, :, 0], conv.stride[1:], conv.padding[1:], conv.dilation[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, H', W']."""
        return _unfold_time(self.conv(_fold_time(x.transpose(1, 2))), x.shape[2])


class TemporalConv(nn.Module):
    """A Tx1x1 convolution as a (T, 1) one over T x (H * W)."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        weight = conv.weight[..., 0]
        self.conv = _conv2d(conv, weight, (conv.stride[0], 1), (conv.padding[0], 0), (conv.dilation[0], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T', H, W]."""
        _, c, t, h, w = (int(n) for n in x.shape)
        y = self.conv(x.reshape(-1, c, t, h * w))
        return y.reshape(-1, int(y.shape[1]), int(y.shape[2]), h, w)


class StackedConv(nn.Module):
    """A TxSxS convolution with temporal stride 1: T frames round each one become T * C channels of a picture."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.taps, self.border = conv.kernel_size[0], int(conv.padding[0])
        weight = conv.weight.transpose(1, 2).flatten(1, 2)
        self.conv = _conv2d(conv, weight, conv.stride[1:], conv.padding[1:], conv.dilation[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, H', W']."""
        t = int(x.shape[2])
        padded = F.pad(x, (0, 0, 0, 0, self.border, self.border)).transpose(1, 2)
        stacked = torch.cat([padded[:, k : k + t] for k in range(self.taps)], 2)
        return _unfold_time(self.conv(_fold_time(stacked)), t)


class PairedStem(nn.Module):
    """The fast stem, two output frames at a time: a 6x7x7 convolution to 16 channels with temporal stride 2.

    A 5x7x7 convolution to 8 channels fills half of 16 lanes. Two neighbouring output frames see 6 input frames; the
    frame that only one of them sees meets zeros in the other's kernel. A fifth more products, half the lanes idle
    before and none after.
    """

    def __init__(self, stem: Stem) -> None:
        """
        Args:
            stem: with its batch norm folded.
        """
        super().__init__()
        conv = stem.conv
        c_out, c_in, t, kh, kw = conv.weight.shape
        weight = conv.weight.new_zeros(2, c_out, c_in, t + 1, kh, kw)
        for g in range(2):
            weight[g, :, :, g : g + t] = conv.weight
        self.border = int(conv.padding[0])
        self.conv = nn.Conv3d(
            c_in, 2 * c_out, (t + 1, kh, kw), (2, *conv.stride[1:]), (self.border, *conv.padding[1:])  # type: ignore
        )
        self.conv.weight = nn.Parameter(weight.flatten(0, 1), requires_grad=False)
        assert conv.bias is not None
        self.conv.bias = nn.Parameter(conv.bias.repeat(2), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, ceil(H / 4), ceil(W / 4)]; T is even."""
        y = F.max_pool3d(F.relu(self.conv(x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        # Channels are (which of the two frames, channel): B, 2, C', T / 2, h, w → B, C', T / 2, 2, h, w
        return y.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


class SplitConv(nn.Module):
    """A convolution as the sum of several, each of a part of the input channels.

    With AMX and bf16, oneDNN computes the slow pathway's 3x1x1 convolutions from 2048 channels at a tenth of the rate
    of the others (96 of 950 GMAC/s on two cores). In parts they run as fast as those; without AMX they cost the same.
    """

    def __init__(self, conv: nn.Conv3d, parts: int) -> None:
        """
        Args:
            conv: without groups; its input channels are a multiple of `parts`.
            parts: how many.
        """
        super().__init__()
        c_out, c_in = conv.weight.shape[:2]
        assert conv.groups == 1
        assert c_in % parts == 0
        self.parts = nn.ModuleList()
        for i, weight in enumerate(conv.weight.detach().chunk(parts, 1)):
            has_bias = conv.bias is not None and i == 0
            part = nn.Conv3d(c_in // parts, c_out, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore
                             bias=has_bias)
            part.weight = nn.Parameter(weight.clone(), requires_grad=False)
            if has_bias:
                assert conv.bias is not None
                part.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
            self.parts.append(part)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T', H', W']."""
        first, *rest = [part(piece) for part, piece in zip(self.parts, x.chunk(len(self.parts), 1), strict=True)]
        for more in rest:
            first = first + more
        return first


# Measured on 8x8 R50: parts of 512 channels make the whole trunk 1.79 times as fast with AMX, of 1024 1.70 times.
WIDE_CHANNELS, PART_CHANNELS = 2048, 512


def split_wide_temporal(network: nn.Module) -> None:
    """Replace Tx1x1 convolutions, T > 1, from at least `WIDE_CHANNELS` channels by sums over parts of them."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Conv3d) or child.in_channels < WIDE_CHANNELS:
                continue
            if child.kernel_size[0] > 1 and child.kernel_size[1:] == (1, 1) and not child.in_channels % PART_CHANNELS:
                setattr(parent, name, SplitConv(child, child.in_channels // PART_CHANNELS))


def pair_fast_stem(network: nn.Module) -> None:
    """Replace the fast pathway's stem by its paired form, where it has the paper's 5 temporal taps."""
    stems = network.get_submodule("s1")
    stem = getattr(stems, "pathway1_stem", None)
    if isinstance(stem, Stem) and stem.conv.kernel_size[0] == 5 and stem.conv.stride[0] == 1:
        stems.pathway1_stem = PairedStem(stem)


# Sizes are written into the graph as numbers, all but the batch: a graph that computes its shapes is slow to build.
def _fold_time(x: Tensor) -> Tensor:
    """Tensor[B, T, C, H, W] → Tensor[B * T, C, H, W]."""
    return x.reshape(-1, *(int(n) for n in x.shape[2:]))


def _unfold_time(x: Tensor, frames: int) -> Tensor:
    """Tensor[B * T, C, H, W] → Tensor[B, C, T, H, W]."""
    return x.reshape(-1, int(frames), *(int(n) for n in x.shape[1:])).transpose(1, 2)


def _conv2d(conv: nn.Conv3d, weight: Tensor, stride: object, padding: object, dilation: object) -> nn.Conv2d:
    made = nn.Conv2d(
        weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding, dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if conv.bias is not None:
        made.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
    return made
