"""Which parameters are trained, how fast, and their moving average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detector.errors import UserError
from detector.training.recipe import Recipe


def freeze(network: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """Stop the training of the recipe's frozen parameters.

    Returns:
        The batch norms that must stay in evaluation mode while the rest trains.

    Raises:
        UserError: a pattern that fits no parameter.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in [*recipe.frozen, *(p for p, _ in recipe.rate_factors)]:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"recipe: pattern {pattern!r} fits no parameter; they are {names[0]}, …, {names[-1]}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not _fits(name, recipe.frozen))
    if not any(p.requires_grad for p in network.parameters()):
        raise UserError(f"recipe: frozen={','.join(recipe.frozen)} leaves nothing to train")
    still: list[nn.Module] = []
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and (recipe.norm == "frozen" or _fits(f"{name}.weight", recipe.frozen)):
            still.append(module)
    return still


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD or AdamW over the trained parameters, in groups that carry their `factor` of the rate.

    Weight decay spares vectors (batch-norm weights, biases), which get `norm_weight_decay`: PySlowFast's
    `BN.WEIGHT_DECAY` is 0.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = next((f for p, f in recipe.rate_factors if fnmatchcase(name, p)), 1.0)
            decay = recipe.weight_decay if parameter.ndim > 1 else recipe.norm_weight_decay
            groups.setdefault((factor, decay), []).append(parameter)
    described = [{"params": params, "factor": f, "weight_decay": d} for (f, d), params in groups.items()]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(described, lr=recipe.rate)
    return torch.optim.SGD(described, lr=recipe.rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


class MovingAverage:
    """An exponential moving average of a network's parameters and buffers.

    The decay grows from 1/10 as `(1 + n) / (10 + n)` up to its value, so that random first weights are soon
    forgotten (TensorFlow's ExponentialMovingAverage with `num_updates`).
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network's present weights."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - keep)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """Give the network the averaged weights for a while."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.values)
        try:
            yield
        finally:
            network.load_state_dict(own)
