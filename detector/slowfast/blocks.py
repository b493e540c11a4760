"""The parts that pathways are made of: stem, bottleneck, non-local block, stage, lateral connection.

"SlowFast Networks for Video Recognition" (Feichtenhofer, Fan, Malik, He; ICCV 2019), Table 1 and section 3.3;
"Non-local Neural Networks" (Wang, Girshick, Gupta, He; CVPR 2018). Submodules are named as PySlowFast names them, so
that its published weights load by name. Letters: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.slowfast.precision import convolve_stem


class Stem(nn.Module):
    """conv1 and pool1: Tx7x7 with spatial stride 2, then a spatial 3x3 max-pool with stride 2."""

    def __init__(self, channels_in: int, channels_out: int, temporal_kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels_in, channels_out, (temporal_kernel, 7, 7), (1, 2, 2), (temporal_kernel // 2, 3, 3), bias=False
        )
        self.bn = nn.BatchNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, ceil(H / 4), ceil(W / 4)]."""
        return F.max_pool3d(F.relu(self.bn(convolve_stem(self.conv, x))), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class Bottleneck(nn.Module):
    """The residual function: Tx1x1, 1x3x3 (stride, dilation), 1x1x1; the last one without ReLU."""

    def __init__(
        self, channels_in: int, channels_inner: int, channels_out: int, temporal_kernel: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.a = nn.Conv3d(
            channels_in, channels_inner, (temporal_kernel, 1, 1), padding=(temporal_kernel // 2, 0, 0), bias=False
        )
        self.a_bn = nn.BatchNorm3d(channels_inner)
        self.b = nn.Conv3d(
            channels_inner, channels_inner, (1, 3, 3), (1, stride, stride), (0, dilation, dilation),
            dilation=(1, dilation, dilation), bias=False,
        )
        self.b_bn = nn.BatchNorm3d(channels_inner)
        self.c = nn.Conv3d(channels_inner, channels_out, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, ceil(H / stride), ceil(W / stride)]."""
        x = F.relu(self.a_bn(self.a(x)))
        x = F.relu(self.b_bn(self.b(x)))
        return self.c_bn(self.c(x))


class ResidualBlock(nn.Module):
    """Shortcut plus bottleneck, then ReLU; the shortcut is a 1x1x1 convolution where shape changes."""

    def __init__(
        self, channels_in: int, channels_inner: int, channels_out: int, temporal_kernel: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.has_projection = channels_in != channels_out or stride != 1
        if self.has_projection:
            self.branch1 = nn.Conv3d(channels_in, channels_out, 1, (1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(channels_out)
        self.branch2 = Bottleneck(channels_in, channels_inner, channels_out, temporal_kernel, stride, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → Tensor[B, C', T, ceil(H / stride), ceil(W / stride)]."""
        shortcut = self.branch1_bn(self.branch1(x)) if self.has_projection else x
        return F.relu(shortcut + self.branch2(x))


class NonLocal(nn.Module):
    """Dot-product non-local block: every position looks at every (pooled) position, divided by their number.

    Keys and values are max-pooled by `pool` before their convolutions; the inner width is half the channels.
    """

    def __init__(self, channels: int, pool: tuple[int, int, int]) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.pool_size = pool
        self.conv_theta = nn.Conv3d(channels, inner, 1)
        self.conv_phi = nn.Conv3d(channels, inner, 1)
        self.conv_g = nn.Conv3d(channels, inner, 1)
        self.conv_out = nn.Conv3d(inner, channels, 1)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B, C, T, H, W] → the same shape."""
        pooled = F.max_pool3d(x, self.pool_size) if max(self.pool_size) > 1 else x
        theta = self.conv_theta(x)
        query = theta.flatten(2)  # B, C/2, N
        key = self.conv_phi(pooled).flatten(2)  # B, C/2, M
        value = self.conv_g(pooled).flatten(2)  # B, C/2, M
        weights = torch.matmul(query.transpose(1, 2), key) / key.shape[2]  # B, N, M
        y = torch.matmul(value, weights.transpose(1, 2))  # B, C/2, N
        return x + self.bn(self.conv_out(y.view_as(theta)))


class Stage(nn.Module):
    """res2, res3, res4 or res5 of the pathways that there are: bottlenecks, some followed by a non-local block.

    Args:
        channels_in, channels_inner, channels_out: of each pathway, slow first; None for one that there is not.
        temporal_kernels: of each pathway's first `temporal_blocks` blocks; 1 in the rest.
        blocks: how many.
        temporal_blocks: how many of them use the temporal kernel.
        stride: spatial, of the first block.
        dilation: spatial, of all blocks.
        nonlocal_after: blocks of the slow pathway that a non-local block follows.
        nonlocal_pool: of their keys and values.
    """

    def __init__(
        self, channels_in: tuple[int | None, ...], channels_inner: tuple[int, int], channels_out: tuple[int, int],
        temporal_kernels: tuple[int, int], blocks: int, temporal_blocks: int, stride: int, dilation: int,
        nonlocal_after: tuple[int, ...] = (), nonlocal_pool: tuple[int, int, int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        self.blocks = blocks
        for p, first in enumerate(channels_in):
            if first is None:
                continue
            for i in range(blocks):
                block = ResidualBlock(
                    first if i == 0 else channels_out[p], channels_inner[p], channels_out[p],
                    temporal_kernels[p] if i < temporal_blocks else 1, stride if i == 0 else 1, dilation,
                )
                self.add_module(f"pathway{p}_res{i}", block)
                if p == 0 and i in nonlocal_after:
                    self.add_module(f"pathway{p}_nonlocal{i}", NonLocal(channels_out[p], nonlocal_pool))

    def forward(self, slow: Tensor | None, fast: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Run each pathway that there is: Tensor[B, C, T, H, W] → Tensor[B, C', T, H', W']."""
        return self._run(0, slow), self._run(1, fast)

    def _run(self, pathway: int, x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        for i in range(self.blocks):
            x = self.get_submodule(f"pathway{pathway}_res{i}")(x)
            if f"pathway{pathway}_nonlocal{i}" in self._modules:
                x = self.get_submodule(f"pathway{pathway}_nonlocal{i}")(x)
        return x


class Lateral(nn.Module):
    """How fast features join the slow pathway (section 3.3; time-strided convolution is the paper's choice).

    Fast features have alpha times as many frames. `conv`: a kx1x1 convolution with temporal stride alpha and 2x
    channels, BN, ReLU, concatenated. `time_strided`: one out of every alpha frames, concatenated.
    `time_to_channel_*`: alpha frames packed into channels, concatenated or summed.

    Attributes:
        newest: of every alpha frames, `time_strided` takes the newest instead of the oldest (causal networks).
    """

    newest = False

    def __init__(self, kind: str, channels: int, alpha: int, kernel: int, resize: bool = False) -> None:
        super().__init__()
        self.kind, self.alpha, self.resize = kind, alpha, resize
        if kind == "conv":
            self.conv_f2s = nn.Conv3d(
                channels, 2 * channels, (kernel, 1, 1), (alpha, 1, 1), (kernel // 2, 0, 0), bias=False
            )
            self.bn = nn.BatchNorm3d(2 * channels)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Tensor[B, Cs, T, H, W] and Tensor[B, Cf, alpha * T, H', W'] → Tensor[B, Cs + joined, T, H, W]."""
        if self.kind == "none":
            return slow
        if self.kind == "conv":
            joined = F.relu(self.bn(self.conv_f2s(fast)))
        elif self.kind == "time_strided":
            joined = fast[:, :, self.alpha - 1 if self.newest else 0 :: self.alpha]
        else:
            joined = fast.unflatten(2, (-1, self.alpha)).permute(0, 1, 3, 2, 4, 5).flatten(1, 2)
        if self.resize:
            joined = resize_like(joined, slow)
        return slow + joined if self.kind == "time_to_channel_sum" else torch.cat([slow, joined], 1)


def resize_like(fast: Tensor, slow: Tensor) -> Tensor:
    """Repeat pixels of Tensor[B, C, T, h, w] until its height and width are those of Tensor[B, C', T', H, W]."""
    return F.interpolate(fast, size=(fast.shape[2], slow.shape[3], slow.shape[4]), mode="nearest")
