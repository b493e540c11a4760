"""The SlowFast network: two pathways through one ResNet each, and lateral connections from fast to slow.

"SlowFast Networks for Video Recognition" (Feichtenhofer, Fan, Malik, He; ICCV 2019); the original code is
facebookresearch/SlowFast. Table 1 of the paper, for a clip of alpha * T frames of 224x224 and R50 (kernels T x S²,
output of the fast pathway in brackets):

    stage      slow pathway                         fast pathway                        output T x S²
    raw clip   every alpha-th frame                 every frame                         T x 224²    [alpha T]
    conv1      1x7², 64, stride 1,2²                5x7², 8, stride 1,2²                T x 112²
    pool1      1x3² max, stride 1,2²                the same                            T x 56²
    res2       [1x1², 64;  1x3², 64;  1x1², 256] x3   [3x1², 8;  1x3², 8;  1x1², 32] x3     T x 56²
    res3       [1x1², 128; 1x3², 128; 1x1², 512] x4   [3x1², 16; 1x3², 16; 1x1², 64] x4     T x 28²
    res4       [3x1², 256; 1x3², 256; 1x1², 1024] x6  [3x1², 32; 1x3², 32; 1x1², 128] x6    T x 14²
    res5       [3x1², 512; 1x3², 512; 1x1², 2048] x3  [3x1², 64; 1x3², 64; 1x1², 256] x3    T x 7²
    global average of each, concatenated, fc

A lateral connection follows pool1, res2, res3 and res4. Detection keeps res5 at res4's resolution by stride 1 and
dilation 2, and replaces the last line by RoIAlign on people's boxes. What differs from the original code: frames
come in as uint8 pictures (normalisation and the slow pathway's choice of frames are inside), and temporal average
and concatenation come before the head, so that the trunk's result is one tensor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from detector.slowfast.blocks import Lateral, NonLocal, ResidualBlock, Stage, Stem, resize_like
from detector.slowfast.causal_conv import make_causal
from detector.slowfast.config import (
    FAST_CHANNELS_OF_INPUT,
    FAST_TEMPORAL_KERNELS,
    SLOW_TEMPORAL_KERNELS,
    SlowFastConfig,
)
from detector.slowfast.heads import ClassificationHead, DetectionHead
from detector.slowfast.inputs import normalize, prepare_fast, take_slow_frames


class Stems(nn.Module):
    """conv1 and pool1 of the pathways that there are."""

    def __init__(self, config: SlowFastConfig) -> None:
        super().__init__()
        if config.has_slow:
            self.pathway0_stem = Stem(3, config.slow_channels[0], SLOW_TEMPORAL_KERNELS[0])
        if config.has_fast:
            channels = FAST_CHANNELS_OF_INPUT[config.fast_input]
            self.pathway1_stem = Stem(channels, config.fast_channels[0], FAST_TEMPORAL_KERNELS[0])

    def forward(self, slow: Tensor | None, fast: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Tensor[B, C, T, H, W] of each → Tensor[B, C', T, ceil(H / 4), ceil(W / 4)]."""
        return (
            None if slow is None else self.pathway0_stem(slow),
            None if fast is None else self.pathway1_stem(fast),
        )


class ActionNetwork(nn.Module):
    """A SlowFast, Slow-only or Fast-only network with its head, from uint8 pictures to scores.

    Attributes:
        config: its numbers.
    """

    def __init__(self, config: SlowFastConfig) -> None:
        super().__init__()
        self.config = config
        detection = config.head == "detection"
        self.s1 = Stems(config)
        self.s2 = _stage(config, 2, stride=1, dilation=1)
        self.s3 = _stage(config, 3, stride=2, dilation=1)
        self.s4 = _stage(config, 4, stride=2, dilation=1)
        self.s5 = _stage(config, 5, stride=1 if detection else 2, dilation=2 if detection else 1)
        if config.pathways == "slowfast":
            for number, channels in enumerate(config.fast_channels[:4], start=1):
                lateral = Lateral(
                    config.lateral, channels, config.alpha, config.lateral_kernel, config.fast_half_resolution
                )
                self.add_module(f"s{number}_fuse", lateral)
        if config.causal:
            make_causal(self)
        common = (config.feature_channels, config.num_classes, config.dropout, config.activation)
        self.head = DetectionHead(*common, config.aligned, config.feature_stride) if detection else (
            ClassificationHead(*common, config.pool_cells))

    def forward_trunk(self, frames: Tensor, flow: Tensor | None = None) -> Tensor:
        """Compute features of clips; needs no boxes.

        Args:
            frames: (B, T, H, W, 3) uint8 RGB. T is `config.num_frames`, or any other multiple of alpha.
            flow: (B, T, H, W, 2) float32 pixels a frame, for networks with `fast_input="flow"` only; computed
                by OpenCV where None.

        Returns:
            (B, C, ceil(H / 16), ceil(W / 16)) for detection, (…, ceil(H / 32), ceil(W / 32)) for classification:
            the temporal average of each pathway's res5, slow channels first. A causal network averages the last
            `config.num_frames`, and its answer is for the newest frame.

        Raises:
            ValueError: shape or dtype do not fit.
        """
        slow, fast = self.forward_pathways(frames, flow)
        if self.config.causal:
            steps = self.config.window_steps
            slow = None if slow is None else slow[:, :, -steps:]
            fast = None if fast is None else fast[:, :, -steps * self.config.frames_per_step :]
        return torch.cat([x.mean(2) for x in (slow, fast) if x is not None], 1)

    def forward_pathways(self, frames: Tensor, flow: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """As `forward_trunk`, before the average: each pathway's res5, Tensor[B, C, T, h, w]."""
        self.check_frames(frames)
        config = self.config
        slow: Tensor | None = None
        fast: Tensor | None = None
        if config.has_slow:
            slow = normalize(self._slow_frames(frames), config, self._float_dtype)
        if config.has_fast:
            fast = prepare_fast(frames, flow, config, self._float_dtype)
        return self.run_stages(slow, fast)

    def run_stages(self, slow: Tensor | None, fast: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """From what each pathway sees, Tensor[B, C, T, H, W], to its res5."""
        slow, fast = self.s1(slow, fast)
        slow, fast = self.s2(self._fuse(1, slow, fast), fast)
        slow, fast = self.s3(self._fuse(2, slow, fast), fast)
        slow, fast = self.s4(self._fuse(3, slow, fast), fast)
        slow, fast = self.s5(self._fuse(4, slow, fast), fast)

        if slow is not None and fast is not None and self.config.fast_half_resolution:
            fast = resize_like(fast, slow)
        return slow, fast

    def forward_head(self, features: Tensor, rois: Tensor | None = None, activate: bool = True) -> Tensor:
        """Score people (detection) or clips (classification).

        Args:
            features: what `forward_trunk` gave.
            rois: (K, 5) float `(batch index, x1, y1, x2, y2)` in pixels of the frames, for detection; K = 0 is
                ordinary. None for classification.
            activate: scores where True, logits where False.

        Returns:
            (K, A), or (B, A) for classification.

        Raises:
            ValueError: ROI rows are missing, or are there for a classification network.
        """
        if isinstance(self.head, ClassificationHead):
            if rois is not None:
                raise ValueError("rois: got ROI rows, expected none: this network classifies whole clips")
            return self.head(features, activate)
        if rois is None:
            raise ValueError("rois: got None, expected ROI rows (K, 5): this network scores people in boxes")
        return self.head(features, rois, activate)

    def forward(
        self, frames: Tensor, rois: Tensor | None = None, activate: bool = True, flow: Tensor | None = None
    ) -> Tensor:
        """`forward_trunk`, then `forward_head`; dropout acts in train mode."""
        return self.forward_head(self.forward_trunk(frames, flow), rois, activate)

    @property
    def _float_dtype(self) -> torch.dtype:
        return self.head.projection.weight.dtype

    def _slow_frames(self, frames: Tensor) -> Tensor:
        alpha = self.config.alpha
        if not self.config.has_fast:
            return frames
        return frames[:, alpha - 1 :: alpha] if self.config.causal else take_slow_frames(frames, alpha)

    def _fuse(self, number: int, slow: Tensor | None, fast: Tensor | None) -> Tensor | None:
        if slow is None or fast is None:
            return slow
        return cast(Tensor, self.get_submodule(f"s{number}_fuse")(slow, fast))

    def check_frames(self, frames: Tensor) -> None:
        """Raise ValueError where clips have a shape or type that this network cannot see."""
        # While a graph is recorded, a check would turn sizes that may vary into constants.
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return
        config, shape = self.config, tuple(frames.shape)
        if len(shape) != 5 or shape[4] != 3 or frames.dtype != torch.uint8:
            raise ValueError(f"frames: got {shape} {frames.dtype}, expected (B, T, H, W, 3) torch.uint8 RGB")
        grouped = config.pathways == "slowfast" or (config.causal and config.has_fast)
        if grouped and (shape[1] == 0 or shape[1] % config.alpha):
            raise ValueError(f"frames: got T = {shape[1]}, expected a multiple of alpha = {config.alpha}")
        if shape[1] == 0 or min(shape[2:4]) < config.feature_stride:
            raise ValueError(
                f"frames: got {shape[1]} frames of {shape[3]}x{shape[2]} pixels, expected at least one frame of "
                f"{config.feature_stride}x{config.feature_stride}"
            )
        if config.nonlocal_blocks and config.has_slow:
            slow_frames = shape[1] // config.alpha if config.has_fast else shape[1]
            cells = (slow_frames, -(-shape[2] // 16), -(-shape[3] // 16))
            if any(size < pool for size, pool in zip(cells, config.nonlocal_pool)):
                raise ValueError(
                    f"frames: res4 would have {cells} cells (T, H, W), expected at least {config.nonlocal_pool}, "
                    "what its non-local blocks pool over"
                )


def with_causality(network: ActionNetwork, causal: bool) -> ActionNetwork:
    """The same parameters, shared, in a network that looks back only, or in one that looks ahead as well."""
    if network.config.causal == causal:
        return network
    with torch.device("meta"):
        made = ActionNetwork(replace(network.config, causal=causal))
    made.load_state_dict(network.state_dict(keep_vars=True), strict=True, assign=True)
    return made.train(network.training)


def create_network(config: SlowFastConfig, seed: int | None = None, zero_init: bool = False) -> ActionNetwork:
    """Build a network with random weights, initialised as the paper does.

    Convolutions by He et al. 2015 (normal, fan-out), the last linear layer N(0, 0.01), biases 0, BN scales 1.

    Args:
        config: its numbers.
        seed: makes the weights reproducible and leaves torch's global generator alone; None takes its next numbers.
        zero_init: start each residual and non-local block as the identity, by a zero scale in its last BN
            (Goyal et al. 2017); for training. Off by default, because such a network ignores most of its input.
    """
    if seed is None:
        return _initialized(config, zero_init)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _initialized(config, zero_init)


def _initialized(config: SlowFastConfig, zero_init: bool) -> ActionNetwork:
    network = ActionNetwork(config)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(network.head.projection.weight, std=0.01)
    nn.init.zeros_(network.head.projection.bias)
    if zero_init:
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.branch2.c_bn.weight)
            elif isinstance(module, NonLocal):
                nn.init.zeros_(module.bn.weight)
    return network


def _stage(config: SlowFastConfig, number: int, stride: int, dilation: int) -> Stage:
    """res<number>: what comes in is the previous stage's output and, in the slow pathway, the lateral's channels."""
    i = number - 1  # position in the channel and kernel tuples, where 0 is conv1
    slow_in = config.slow_channels[i - 1] + config.lateral_channels[i - 1]
    blocks = config.blocks[number - 2]
    temporal_blocks = blocks
    if number == 4 and config.temporal_blocks_res4 is not None:
        temporal_blocks = min(config.temporal_blocks_res4, blocks)
    return Stage(
        channels_in=(slow_in if config.has_slow else None, config.fast_channels[i - 1] if config.has_fast else None),
        channels_inner=config.inner_channels[number - 2],
        channels_out=(config.slow_channels[i], config.fast_channels[i]),
        temporal_kernels=(SLOW_TEMPORAL_KERNELS[i], FAST_TEMPORAL_KERNELS[i]),
        blocks=blocks,
        temporal_blocks=temporal_blocks,
        stride=stride,
        dilation=dilation,
        nonlocal_after=config.nonlocal_blocks if number == 4 else (),
        nonlocal_pool=config.nonlocal_pool,
    )
