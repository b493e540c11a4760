"""From uint8 pictures to what each pathway sees: layout, colour normalisation, frames of the slow pathway, and the
paper's weaker inputs for the fast one (Table 5c): half resolution, gray-scale, time difference, optical flow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detector.sampling import slow_indices
from detector.slowfast.config import SlowFastConfig

# ITU-R BT.601 luma of R, G, B, as OpenCV's RGB2GRAY.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
# Flow is cut at 20 pixels a frame and scaled to -1..1, as two-stream networks do (Carreira, Zisserman 2017).
FLOW_LIMIT_PX = 20.0


def take_slow_frames(frames: Tensor, alpha: int) -> Tensor:
    """Frames of the slow pathway: Tensor[B, T, H, W, 3] → Tensor[B, T / alpha, H, W, 3]."""
    chosen = slow_indices(int(frames.shape[1]), alpha)
    if frames.is_cuda:
        # Sending indices to a GPU would make it wait, and cannot be recorded in a CUDA graph.
        return torch.stack([frames[:, int(i)] for i in chosen], 1)
    return frames.index_select(1, torch.as_tensor(chosen, device=frames.device))


def normalize(frames: Tensor, config: SlowFastConfig, dtype: torch.dtype) -> Tensor:
    """Channels first and centred colours: Tensor[B, T, H, W, C] 0 to 255 → Tensor[B, C, T, H, W] of `dtype`."""
    return (frames.permute(0, 4, 1, 2, 3).to(dtype) / 255 - config.mean) / config.std


def prepare_fast(frames: Tensor, flow: Tensor | None, config: SlowFastConfig, dtype: torch.dtype) -> Tensor:
    """What the fast pathway sees: Tensor[B, T, H, W, 3] uint8 → Tensor[B, 3 | 1 | 2, T, H', W'] of `dtype`.

    Args:
        frames: RGB.
        flow: (B, T, H, W, 2) pixels a frame, for "flow" only; computed from the frames where None.
        config: says which input, and whether at half the height and width (rounded up).
        dtype: of the result.
    """
    if config.fast_input == "flow":
        flow = flow_of_clips(frames) if flow is None else flow
        x = (flow.to(frames.device).permute(0, 4, 1, 2, 3).to(dtype) / FLOW_LIMIT_PX).clamp(-1, 1)
    elif config.fast_input == "rgb":
        x = normalize(frames, config, dtype)
    else:
        # The weights of luma add up to 1, so one channel is centred instead of three.
        red, green, blue = (channel.to(dtype) for channel in frames.unbind(-1))
        luma = red * LUMA_WEIGHTS[0] + green * LUMA_WEIGHTS[1] + blue * LUMA_WEIGHTS[2]
        x = ((luma / 255 - config.mean) / config.std).unsqueeze(1)
        if config.fast_input == "difference":
            # The first frame has none before it: no change.
            x = x - torch.cat([x[:, :, :1], x[:, :, :-1]], 2)
    if config.fast_half_resolution:
        # Averages of 2x2 pixels; a last odd row or column is averaged over the pixels there are.
        x = F.avg_pool3d(x, (1, 2, 2), ceil_mode=True, count_include_pad=False)
    return x


def flow_of_clips(frames: Tensor) -> Tensor:
    """Optical flow of each frame from the one before, by OpenCV: Tensor[B, T, H, W, 3] → Tensor[B, T, H, W, 2].

    Raises:
        RuntimeError: while a graph is recorded; an exported network takes flow as an input.
    """
    from detector.slowfast.flow import optical_flow

    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        raise RuntimeError("flow: got None while tracing, expected flow as an input: OpenCV cannot be recorded")
    clips = frames.cpu().numpy()
    return torch.from_numpy(np.stack([optical_flow(clip) for clip in clips]))
