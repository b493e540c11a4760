"""A small network over key points in time: convolutions over moments, then sigmoids. No images."""

from __future__ import annotations

import torch
from torch import nn

POINTS = 17


class SkeletonNetwork(nn.Module):
    """(N, T, 17, 3) key points as `samples.normalised` gives them to (N, A) scores, 0 to 1."""

    def __init__(self, num_classes: int, width: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Conv1d(POINTS * 5, width, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2),
                          nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout), nn.Conv1d(width, width, 1))
            for _ in range(3)
        )
        self.head = nn.Sequential(nn.BatchNorm1d(3 * width), nn.Dropout(dropout), nn.Linear(3 * width, num_classes))

    def logits(self, points: torch.Tensor) -> torch.Tensor:
        """(N, A) before the sigmoid."""
        n, t = points.shape[:2]
        seen = points[..., 2:]
        step = torch.zeros_like(points[..., :2])
        # A step between two moments counts only where both were seen.
        step[:, 1:] = (points[:, 1:, :, :2] - points[:, :-1, :, :2]) * seen[:, 1:] * seen[:, :-1]
        x = torch.cat([points, 4 * step], -1).reshape(n, t, POINTS * 5).transpose(1, 2)
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        middle = x[..., t // 2 - 1 : t // 2 + 2].mean(-1)
        return self.head(torch.cat([x.mean(-1), x.amax(-1), middle], 1))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.logits(points).sigmoid()
