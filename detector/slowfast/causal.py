"""A causal network step by step: the state of cameras, and the two ways to run that give the same features.

alpha new frames of a camera and its state go in, the features of this moment come out; a head goes on from them as
from a clip's. The features are the mean of the last T steps' (a ring and its running sum), as a clip's are of its own
T: an exponential mean would need no ring and give other features than training on whole clips does.

What a state holds, for 8x8 R50 and 256x455 pixels: the last 4 pictures (1.4 MB), what frames already seen add to later
answers (23 MB in float32) and the ring of T steps' features (39 MB). `CausalState.size_bytes` counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from detector.slowfast.causal_conv import carried
from detector.slowfast.config import FAST_TEMPORAL_KERNELS, SLOW_TEMPORAL_KERNELS, SlowFastConfig
from detector.slowfast.inputs import normalize, prepare_fast
from detector.slowfast.network import ActionNetwork


class Window:
    """The mean of the features of each camera's last T steps: a ring of them and their running sum.

    The sum is taken anew each time that the ring is full, so that its rounding does not grow with time.

    Attributes:
        recent: (B, T, C, h, w).
        total: (B, C, h, w), their sum.
    """

    def __init__(self, batch: int, steps: int, features: tuple[int, ...], like: Tensor) -> None:
        """
        Args:
            batch: B, cameras.
            steps: T.
            features: (C, h, w).
            like: gives type and device.
        """
        self.recent = like.new_zeros((batch, steps, *features))
        self.total = like.new_zeros((batch, *features))

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return sum(t.numel() * t.element_size() for t in (self.recent, self.total))

    def add(self, newest: Tensor, rows: list[int], steps: list[int]) -> Tensor:
        """Take in a step of some cameras.

        Args:
            newest: (len(rows), C, h, w) features of this step.
            rows: which cameras.
            steps: of each, how many steps came before since its reset.

        Returns:
            (len(rows), C, h, w): the mean over the steps that there were, T at most.
        """
        size = self.recent.shape[1]
        means = torch.empty_like(newest)
        for i, (row, step) in enumerate(zip(rows, steps)):
            recent, total, place = self.recent[row], self.total[row], step % size
            if step == 0:
                total.zero_()
            elif step >= size:
                total -= recent[place]
            recent[place] = newest[i]
            if place == size - 1:
                torch.sum(recent, 0, out=total)
            else:
                total += recent[place]
            torch.div(total, min(step + 1, size), out=means[i])
        return means


@dataclass
class CausalState:
    """All that a causal network remembers of B cameras; a step changes it in place.

    Attributes:
        pictures: (B, P, H, W, 3) uint8, the last frames that the fast stem will see again; P = 0 without one.
        sums: by convolution, what frames already seen add to later answers.
        window: the features of the last T steps.
        steps: of each camera, since its reset.
    """

    pictures: Tensor
    sums: dict[str, Tensor]
    window: Window
    steps: list[int]

    @property
    def size_bytes(self) -> int:
        """Memory that all cameras together take."""
        kept = [self.pictures, *self.sums.values()]
        return sum(t.numel() * t.element_size() for t in kept) + self.window.size_bytes

    def reset(self, rows: list[int] | None = None) -> None:
        """Forget what some cameras (all where None) have shown."""
        with torch.inference_mode():  # what inference mode made may be changed in there alone
            for row in range(len(self.steps)) if rows is None else rows:
                self.steps[row] = 0
                for tensor in self.sums.values():
                    tensor[row] = 0

    def pictures_before(self, frames: Tensor) -> Tensor:
        """The pictures before (B, n, H, W, 3) new ones; a camera that starts repeats its first."""
        starting = [row for row, steps in enumerate(self.steps) if steps == 0]
        if not starting or not self.pictures.shape[1]:
            return self.pictures
        before = self.pictures.clone()
        for row in starting:
            before[row] = frames[row, :1]
        return before


def create_state(network: ActionNetwork, batch: int, size_hw: tuple[int, int]) -> CausalState:
    """What a causal network remembers of cameras that have shown nothing yet.

    Args:
        network: gives type and device.
        batch: B, cameras.
        size_hw: height and width of their frames in pixels.

    Raises:
        ValueError: the network is not causal, or the frames are too small.
    """
    config = network.config
    shapes, features = state_shapes(config, size_hw)
    like = network.head.projection.weight.detach()
    pictures = torch.zeros((batch, config.pictures_kept, *size_hw, 3), dtype=torch.uint8, device=like.device)
    sums = {name: like.new_zeros((batch, *shape)) for name, shape in shapes.items()}
    return CausalState(pictures, sums, Window(batch, config.window_steps, features, like), [0] * batch)


def run_step(network: ActionNetwork, frames: Tensor, state: CausalState) -> Tensor:
    """One step: `config.frames_per_step` new frames of each camera.

    Args:
        network: causal, in evaluation mode.
        frames: (B, n, H, W, 3) uint8 RGB, oldest first.
        state: of the B cameras; changed in place. Gradients do not pass.

    Returns:
        (B, C, h, w): what `network.forward_trunk` gives for all frames since the reset.

    Raises:
        ValueError: shape or dtype do not fit the state.
    """
    n, shape = network.config.frames_per_step, tuple(state.pictures.shape)
    expected = (shape[0], n, *shape[2:])
    if tuple(frames.shape) != expected or frames.dtype != torch.uint8:
        raise ValueError(f"frames: got {tuple(frames.shape)} {frames.dtype}, expected {expected} torch.uint8")
    with torch.no_grad():
        given = torch.cat([state.pictures_before(frames), frames], 1)
        newest, state.sums = step_trunk(network, given, state.sums)
        state.pictures = given[:, n:].clone()
        features = state.window.add(newest, list(range(shape[0])), state.steps)
    state.steps = [step + 1 for step in state.steps]
    return features


def step_trunk(
    network: ActionNetwork, frames: Tensor, past: Mapping[str, Tensor], flow: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The pure part of a step: no average over steps, nothing changed in place.

    Args:
        network: causal.
        frames: (B, P + n, H, W, 3) RGB, 0 to 255: `config.pictures_kept` before the `config.frames_per_step` new ones.
        past: sums of the step before, by convolution; a missing one is zero.
        flow: (B, P + n, H, W, 2) for networks with `fast_input="flow"`; computed by OpenCV where None.

    Returns:
        (B, C, h, w) features of this step alone, slow channels first, and the sums for the next step.
    """
    config, dtype = network.config, network.head.projection.weight.dtype
    slow: Tensor | None = None
    fast: Tensor | None = None
    if config.has_slow:
        slow = normalize(frames[:, -1:], config, dtype)
    if config.has_fast:
        fast = prepare_fast(frames, flow, config, dtype)
        if config.fast_input in ("difference", "flow"):
            fast = fast[:, :, 1:]  # the first picture was there for the second to be compared with
    with carried(network, past) as fresh:
        slow, fast = network.run_stages(slow, fast)
    return torch.cat([x.mean(2) for x in (slow, fast) if x is not None], 1), fresh


def run_all_steps(network: ActionNetwork, frames: Tensor, flow: Tensor | None = None) -> Tensor:
    """What the steps of clips would give, computed at once.

    Args:
        network: causal.
        frames, flow: as for `network.forward_trunk`.

    Returns:
        (B, S, C, h, w): the features after each of the S steps since the clips' start.
    """
    config = network.config
    slow, fast = network.forward_pathways(frames, flow)
    if fast is not None:
        fast = fast.unflatten(2, (-1, config.frames_per_step)).mean(3)
    steps = torch.cat([x for x in (slow, fast) if x is not None], 1).transpose(1, 2)
    size = config.window_steps
    return torch.stack([steps[:, max(i + 1 - size, 0) : i + 1].mean(1) for i in range(steps.shape[1])], 1)


@lru_cache(maxsize=16)
def state_shapes(
    config: SlowFastConfig, size_hw: tuple[int, int]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Shapes of a causal network's sums, (C, n, h, w) by convolution, and of its features (C, h, w).

    Raises:
        ValueError: the network is not causal, or the frames are too small.
    """
    if not config.causal:
        raise ValueError("state: got a network that looks ahead, expected causal=True in its configuration")
    with torch.device("meta"), torch.no_grad():
        network = ActionNetwork(config).eval()
        frames = torch.empty((1, config.pictures_kept + config.frames_per_step, *size_hw, 3), dtype=torch.uint8)
        network.check_frames(frames[:, : config.frames_per_step])
        flow = torch.empty((*frames.shape[:4], 2)) if config.fast_input == "flow" else None
        features, sums = step_trunk(network, frames, {}, flow)
    return {name: tuple(tensor.shape[1:]) for name, tensor in sums.items()}, tuple(features.shape[1:])


def receptive_field(config: SlowFastConfig) -> int:
    """Frames, the newest included, that can change the features of one step (before the head's average over T).

    By the longest way through the network; most of what is seen comes from its newest part. The head's average adds
    `(T - 1) * config.frames_per_step`.
    """
    alpha = config.frames_per_step
    slow, fast = 0, config.pictures_kept  # how many frames before a feature's own it reaches
    for stage in range(1, 5):
        if config.pathways == "slowfast" and config.lateral != "none":
            taps = {"conv": config.lateral_kernel, "time_strided": 1}.get(config.lateral, alpha)
            slow = max(slow, fast + taps - 1)
        temporal = config.blocks[stage - 1]
        if stage == 3 and config.temporal_blocks_res4 is not None:
            temporal = min(config.temporal_blocks_res4, temporal)
        slow += temporal * (SLOW_TEMPORAL_KERNELS[stage] - 1) * alpha
        fast += temporal * (FAST_TEMPORAL_KERNELS[stage] - 1)
    # A step's features hold the fast pathway's mean over its own frames, the oldest of which reaches furthest.
    reaches = [slow] * config.has_slow + [fast + alpha - 1] * config.has_fast
    return max(reaches) + 1
