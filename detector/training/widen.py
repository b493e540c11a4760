"""A wider or deeper network that computes what a smaller one of the same shape does, as a start for training.

Net2WiderNet (Chen, Goodfellow, Shlens, ICLR 2016, arXiv:1511.05641): channels are repeated, and what reads a repeated
channel weighs each copy by one over their number. A little noise lets the copies part in training. A block added at a
stage's end adds nothing to what passes it while the scale of its last normalisation is zero, as the paper starts all.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from detector.errors import UserError
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network


def widen(values: dict[str, Tensor], narrow: SlowFastConfig, wide: SlowFastConfig, noise: float = 0.0,
          seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a wider network that gives the same scores.

    Args:
        values: state dict of a network of `narrow`.
        narrow, wide: equal but for `width`, of which `wide` has at least as much.
        noise: standard deviation of what is added to convolutions' weights, as a share of each tensor's own.
        seed: of the noise.

    Returns:
        A state dict that fits a network of `wide`.

    Raises:
        UserError: the configurations differ in more than their width, `wide` is the narrower, or a layer would have
            a broken number of channels.
    """
    if replace(narrow, width=wide.width) != wide or wide.width < narrow.width:
        raise UserError(f"widen: got {narrow} and {wide}, expected the same network with more width")
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, value in values.items():
        if value.ndim == 0:
            out[name] = value.clone()
            continue
        is_head = name.startswith("head.")
        result = value if is_head else value[_copies(len(value), _widened(len(value), narrow, wide))]
        if value.ndim > 1 and not _is_stem(name):
            columns = torch.cat(_groups(name, value.shape[1], narrow, wide))
            shares = 1.0 / torch.bincount(columns)[columns]
            result = result[:, columns] * shares.view(1, -1, *[1] * (value.ndim - 2))
        if noise and value.ndim > 2:
            result = result + torch.randn(result.shape, generator=generator) * noise * result.std()
        out[name] = result.contiguous()
    return out


def deepen(values: dict[str, Tensor], deep: SlowFastConfig, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a network with more blocks in its stages that gives the same scores.

    Args:
        values: state dict of a network like `deep` with at most as many blocks in each stage.
        deep: the network wanted.
        seed: of the added blocks' weights.

    Returns:
        A state dict that fits a network of `deep`.

    Raises:
        UserError: something else than blocks at the stages' ends is missing or differs.
    """
    fresh = create_network(deep, seed=seed, zero_init=True).state_dict()
    added = set(fresh) - set(values)
    unfit = sorted(name for name in values if name not in fresh or fresh[name].shape != values[name].shape)
    unfit += sorted(name for name in added if not re.match(r"s[2-5]\.pathway\d_res[1-9]\d*\.branch2\.", name))
    if unfit:
        raise UserError(f"deepen: {unfit[0]} does not fit; expected the same network with fewer blocks")
    return {name: values.get(name, tensor).clone() for name, tensor in fresh.items()}


def _widened(channels: int, narrow: SlowFastConfig, wide: SlowFastConfig) -> int:
    """How many channels of the wide network stand for so many of the narrow one."""
    count, rest = divmod(channels * wide.width, narrow.width)
    if rest:
        raise UserError(f"widen: {channels} channels times {wide.width} / {narrow.width} is no whole number")
    return count


def _copies(before: int, after: int) -> Tensor:
    return torch.arange(after) % before


def _is_stem(name: str) -> bool:
    """Whether a layer reads pictures, whose colours stay as they are."""
    return re.match(r"s1\.pathway\d_stem", name) is not None


def _groups(name: str, channels: int, narrow: SlowFastConfig, wide: SlowFastConfig) -> list[Tensor]:
    """Which input channel of the narrow layer each of the wide one repeats; laterals and fast features join behind."""
    first = re.match(r"s(\d)\.pathway0_res0\.branch(?:1|2\.a)\.weight", name)
    if first:
        i = int(first[1]) - 2
        parts = [(of.slow_channels[i], of.lateral_channels[i]) for of in (narrow, wide)]
    elif name.startswith("head."):
        parts = [(of.slow_channels[4] * of.has_slow, of.fast_channels[4] * of.has_fast) for of in (narrow, wide)]
    else:
        return [_copies(channels, _widened(channels, narrow, wide))]
    (slow, joined), (wide_slow, wide_joined) = parts
    return [_copies(slow, wide_slow)] + ([slow + _copies(joined, wide_joined)] if joined else [])
