"""What is done with a clip's features: one answer a clip, or one a person.

Both are fully convolutional: features of any height and width. They end in logits; activation is separate, because
training wants logits. Sources: the paper, section 4 (classification) and section 6 (detection).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

ROI_CELLS = 7


class ClassificationHead(nn.Module):
    """Average over space, dropout, linear; softmax (Kinetics) or sigmoid (Charades).

    Args:
        channels: of the features.
        num_classes: A.
        dropout: share of features left out in training.
        activation: "softmax" or "sigmoid".
        pool_cells: None averages over all cells; a number averages windows of that many cells squared (all cells
            where there are fewer), scores each and averages the scores.
    """

    def __init__(
        self, channels: int, num_classes: int, dropout: float, activation: str, pool_cells: int | None = None
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(channels, num_classes)
        self.activation = activation
        self.pool_cells = pool_cells

    def forward(self, features: Tensor, activate: bool = True) -> Tensor:
        """Tensor[B, C, h, w] → scores (or logits) Tensor[B, A]."""
        if self.pool_cells is None:
            pooled = features.mean((2, 3))
        else:
            window = tuple(min(self.pool_cells, int(size)) for size in features.shape[2:])
            pooled = F.avg_pool2d(features, window, stride=1).flatten(2).transpose(1, 2)  # B, windows, C
        answers = self.projection(self.dropout(pooled))
        if activate:
            answers = apply_activation(answers, self.activation)
        return answers if self.pool_cells is None else answers.mean(1)


class DetectionHead(nn.Module):
    """RoIAlign 7x7 on each person's box, max over the cells, dropout, linear, sigmoid.

    RoIAlign and max act on each channel alone, so pathways may be concatenated before them (features of both come in
    as one tensor) with the same result as after.
    """

    def __init__(
        self, channels: int, num_classes: int, dropout: float, activation: str, aligned: bool, feature_stride: int = 16
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(channels, num_classes)
        self.activation = activation
        self.aligned = aligned
        self.spatial_scale = 1.0 / feature_stride

    def forward(self, features: Tensor, rois: Tensor, activate: bool = True) -> Tensor:
        """Tensor[B, C, h, w] and ROI rows Tensor[K, 5] in pixels of the frames → scores (or logits) Tensor[K, A]."""
        # Box corners of 455-pixel frames do not fit bfloat16's eight bits of precision.
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        # sampling_ratio 0: as many samples a cell as it has pixels, detectron2's default and PySlowFast's choice.
        cells = roi_align(
            features, rois.to(features.dtype), (ROI_CELLS, ROI_CELLS), self.spatial_scale, 0, self.aligned
        )
        people = cells.amax((2, 3)).to(self.projection.weight.dtype)
        logits = self.projection(self.dropout(people))
        return apply_activation(logits, self.activation) if activate else logits


def apply_activation(logits: Tensor, activation: str) -> Tensor:
    """Logits Tensor[..., A] → scores of the same shape: independent sigmoids, or a softmax over A."""
    return logits.sigmoid() if activation == "sigmoid" else F.softmax(logits, dim=-1)
