"""A network's numbers as a file states them: types and bounds are held against what a network can be.

`SlowFastConfig` checks that numbers fit each other; this checks that they are numbers, and none that would fill the
memory before the first tensor is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from detector.slowfast.config import SlowFastConfig

# Far beyond every published network: the largest has 64 frames, 23 blocks, 2304 features and 700 classes.
_WHOLE = {
    "depth": (1, 1000), "num_frames": (1, 1024), "alpha": (1, 1024), "beta_inv": (1, 1024), "lateral_kernel": (1, 63),
    "num_classes": (1, 20_000), "width": (1, 2048), "pool_cells": (1, 1024), "temporal_blocks_res4": (0, 200),
}
# Bounds of each number, and how many there are: exactly or, of non-local blocks, at most.
_LISTS = {"nonlocal_blocks": (0, 200, 200), "nonlocal_pool": (1, 64, 3), "blocks": (1, 200, 4)}
_MAY_BE_NONE = ("pool_cells", "temporal_blocks_res4", "blocks")


def config_of(numbers: Mapping[str, Any]) -> SlowFastConfig:
    """The configuration that a file states; names that are none of its fields are left out.

    Raises:
        ValueError: a number of another type or beyond its bounds (got and expected), or numbers that do not fit
            each other.
    """
    known = {field.name for field in fields(SlowFastConfig)}
    held = {name: value for name, value in numbers.items() if name in known}
    for name, value in held.items():
        if value is None and name in _MAY_BE_NONE:
            continue
        problem = _problem(name, value)
        if problem:
            raise ValueError(f"{name}: got {_short(value)}, expected {problem}")
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in held.items()}
    try:
        return SlowFastConfig(**given)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _problem(name: str, value: Any) -> str:
    """What was expected, or "" where the value is such a one."""
    if name in _WHOLE:
        low, high = _WHOLE[name]
        return "" if is_whole(value, low, high) else f"a whole number from {low} to {high}"
    if name in _LISTS:
        low, high, count = _LISTS[name]
        fits = isinstance(value, list | tuple) and all(is_whole(v, low, high) for v in value) \
            and (len(value) == count or (name == "nonlocal_blocks" and len(value) < count))
        return "" if fits else f"{count if count < 10 else 'some'} whole numbers from {low} to {high}"
    if name in ("aligned", "fast_half_resolution", "causal"):
        return "" if isinstance(value, bool) else "true or false"
    if name in ("dropout", "mean", "std"):
        least = 1e-6 if name == "std" else 0.0
        return "" if is_number(value, least, 1.0) else f"a number from {least:g} to 1"
    return "" if isinstance(value, str) else "a word"


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether a value is a whole number within bounds; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a finite number within bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high \
        and math.isfinite(value)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write numbers of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}…"
