"""What is minimised. A loss gives a sum and a count, so that parts of a batch add up to the whole exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from detector.training.recipe import Recipe

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def create_loss(recipe: Recipe) -> Loss:
    """The recipe's loss.

    Returns:
        A function of logits (K, A) and targets (K, A) float32, NaN where unknown, that gives the sum of all
        known losses and how many there are (both scalars); the batch's loss is their quotient. "bce" counts
        entries (PySlowFast: mean over K x A), "softmax" counts rows.
    """
    weights = torch.tensor(recipe.class_weights) if recipe.class_weights else None
    smoothing = recipe.label_smoothing

    def bce(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits, known = logits.float(), ~targets.isnan()
        wanted = targets.nan_to_num() * (1 - smoothing) + 0.5 * smoothing
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if weights is not None:
            each = each * weights.to(each.device)
        return torch.where(known, each, 0.0).sum(), known.sum()

    def softmax(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits, known = logits.float(), ~targets.isnan().any(1)
        wanted = targets.nan_to_num() * (1 - smoothing) + smoothing / targets.shape[1]
        if weights is not None:
            wanted = wanted * weights.to(wanted.device)
        each = -(wanted * logits.log_softmax(1)).sum(1)
        return torch.where(known, each, 0.0).sum(), known.sum()

    return {"bce": bce, "softmax": softmax}[recipe.loss]
