"""From a weights file to a network, strictly: every tensor is used or named, and every number that shapes and names
can tell is read off them. Containers are `detector.slowfast.containers`, names are `detector.slowfast.naming`."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detector.errors import UserError
from detector.slowfast.bounds import config_of
from detector.slowfast.config import BLOCKS_OF_DEPTH, FAST_CHANNELS_OF_INPUT, SlowFastConfig
from detector.slowfast.containers import WeightsContent, read_weights_file
from detector.slowfast.naming import Naming, detect_naming, file_name, native_name, wrapper_of
from detector.slowfast.network import ActionNetwork
from detector.slowfast.recipe import Recipe

# Where a file does not say what its head does: data sets that are classified, and AVA, which is detected.
_CLASSES_OF_DETECTION = (80,)
_CLASSES_OF_CLASSIFICATION = (400, 600, 700, 157, 174)
CHARADES_CLASSES = 157


def load_network(
    path: str | Path, frames: int | None = None, alpha: int | None = None, aligned: bool | None = None,
    head: str | None = None, config: SlowFastConfig | None = None,
) -> ActionNetwork:
    """Read a published, converted or own weights file of any container and naming.

    Depth, width, beta, laterals, temporal kernels, non-local blocks and classes are read off the tensors. What they
    cannot tell is taken from the arguments, else from the file's own notes, else from the AVA recipes.

    Args:
        path: the file.
        frames: alpha * T, frames of a clip; 32 where nobody says. A Slow-only network sees frames / alpha of them.
        alpha: frame-rate ratio; 4 where nobody says.
        aligned: RoIAlign's half-pixel shift; False where nobody says.
        head: "detection" or "classification", for a file that does not say and has an unusual number of classes.
        config: all numbers at once, from the model's record; the tensors must agree with them. The other arguments
            are not looked at.

    Returns:
        The network in eval mode, on the CPU, float32.

    Raises:
        UserError: the file cannot be read (see `read_weights_file`), its names follow no known scheme, a tensor is
            missing, left over or of the wrong shape (named), or the tensors do not fit `config`.
    """
    content = read_weights_file(path)
    tensors = native_tensors(content, path)
    if config is None:
        config = _stored_config(content, path)
        if config is None:
            config = infer_config(tensors, path, _facts(content, tensors, frames, alpha, aligned, head, path))
        else:
            chosen = {"num_frames": frames, "alpha": alpha, "aligned": aligned, "head": head}
            config = replace(config, **{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]
    with torch.device("meta"):
        network = ActionNetwork(config)
    state = _fitted(tensors, network.state_dict(), path)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def save_state(network: ActionNetwork, path: str | Path, naming: Naming = "pyslowfast") -> None:
    """Write a network's weights in the container and names of one of the three worlds.

    "pyslowfast" and "pytorchvideo" are PyTorch files with `model_state`, and with the network's own numbers beside
    it under `config`, which others ignore; "caffe2" is a pickle with `blobs`.

    Raises:
        UserError: the scheme has no name for a tensor (non-local blocks in PyTorchVideo's).
    """
    config = network.config
    named: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        counter = name.endswith("num_batches_tracked")
        if counter and naming == "caffe2":
            continue
        found = file_name(
            name, naming, config.blocks, single=config.pathways == "slow", detection=config.head == "detection"
        )
        if found is None or (naming == "pytorchvideo" and config.pathways == "fast"):
            raise UserError(f"save {path}: {naming} has no name for {name}, expected naming='pyslowfast'")
        named[found] = tensor.detach().cpu().clone()
    if naming == "caffe2":
        blobs = {name: tensor.float().numpy() for name, tensor in named.items()}
        Path(path).write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    else:
        torch.save({"model_state": named, "config": _plain(config)}, path)


def native_tensors(content: WeightsContent, path: str | Path) -> dict[str, Tensor]:
    """A file's tensors under this project's names; one that the scheme has no name for keeps its own.

    Raises:
        UserError: the names follow no known scheme.
    """
    naming = detect_naming(content.tensors)
    if naming is None:
        some = ", ".join(name[:60] for name in list(content.tensors)[:3])
        raise UserError(
            f"weights {path}: not a SlowFast network (its tensors are called {some}, …), expected the names of "
            "PySlowFast, PyTorchVideo or Caffe2"
        )
    wrapper = wrapper_of(content.tensors)
    tensors: dict[str, Tensor] = {}
    for name, tensor in content.tensors.items():
        found = native_name(name, naming, wrapper)
        if found != "":
            tensors[name if found is None or found in tensors else found] = tensor
    return tensors


def infer_config(tensors: Mapping[str, Tensor], path: str | Path, facts: Mapping[str, Any]) -> SlowFastConfig:
    """Read a network's numbers off the shapes and names of its tensors.

    Args:
        tensors: by native name.
        path: for messages.
        facts: fields that tensors cannot tell.

    Raises:
        UserError: a tensor that says a number is missing, or numbers contradict each other.
    """
    has_slow = "s1.pathway0_stem.conv.weight" in tensors
    has_fast = "s1.pathway1_stem.conv.weight" in tensors
    shape = _Shapes(tensors, path)
    pathway = 0 if has_slow else 1
    blocks = tuple(shape.count(rf"s{n}\.pathway{pathway}_res(\d+)\.branch2\.a\.weight") for n in (2, 3, 4, 5))
    if has_slow:
        width = shape("s1.pathway0_stem.conv.weight")[0]
    else:
        width = 64  # a fast pathway alone tells beta * width; the paper's width is as good as any
    found: dict[str, Any] = {
        "pathways": "slowfast" if has_slow and has_fast else "slow" if has_slow else "fast",
        "width": width,
        "blocks": blocks,
        "depth": next((d for d, b in BLOCKS_OF_DEPTH.items() if b == blocks), 50),
        "num_classes": shape("head.projection.weight")[0],
        "nonlocal_blocks": tuple(sorted(shape.numbers(r"s4\.pathway0_nonlocal(\d+)\.bn\.weight"))),
        "temporal_blocks_res4": _temporal_blocks(shape, pathway, blocks[2]),
        **facts,
    }
    if has_fast:
        last = shape("s5.pathway1_res0.branch2.c.weight")[0]
        found["beta_inv"] = max(round(width * 32 / max(last, 1)), 1)
        found.setdefault("fast_input", _fast_input(shape("s1.pathway1_stem.conv.weight")[1], path))
    if has_slow and has_fast:
        found.update(_lateral(shape, width, found["alpha"], path))
    try:
        return config_of(found)
    except ValueError as error:
        raise UserError(f"weights {path}: the tensors make no SlowFast network ({error})") from None


class _Shapes:
    """Shapes by native name; a missing one is a user's mistake."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str | Path) -> None:
        self.tensors, self.path = tensors, path

    def __call__(self, name: str) -> tuple[int, ...]:
        if name not in self.tensors:
            raise UserError(f"weights {self.path}: {name} is missing, expected a whole SlowFast network")
        shape = tuple(self.tensors[name].shape)
        ones = {"projection.weight": 2}.get(name.removeprefix("head."), 5)
        return shape + (1,) * (ones - len(shape))

    def numbers(self, pattern: str) -> list[int]:
        return [int(match[1]) for name in self.tensors if (match := re.fullmatch(pattern, name))]

    def count(self, pattern: str) -> int:
        return max(self.numbers(pattern), default=-1) + 1


def _temporal_blocks(shape: _Shapes, pathway: int, blocks: int) -> int | None:
    kernels = [shape(f"s4.pathway{pathway}_res{i}.branch2.a.weight")[2] for i in range(blocks)]
    temporal = sum(k > 1 for k in kernels)
    return None if temporal == blocks else temporal


def _fast_input(channels: int, path: str | Path) -> str:
    kinds = [kind for kind, count in FAST_CHANNELS_OF_INPUT.items() if count == channels]
    if len(kinds) != 1:
        raise UserError(
            f"weights {path}: the fast pathway takes {channels} channel(s), which is {' or '.join(kinds) or 'nothing'} "
            "known; give the network's numbers with config="
        )
    return kinds[0]


def _lateral(shape: _Shapes, width: int, alpha: int, path: str | Path) -> dict[str, Any]:
    if "s1_fuse.conv_f2s.weight" in shape.tensors:
        return {"lateral": "conv", "lateral_kernel": shape("s1_fuse.conv_f2s.weight")[2]}
    joined = shape("s2.pathway0_res0.branch2.a.weight")[1] - width
    fast = shape("s1.pathway1_stem.conv.weight")[0]
    kinds = {fast * alpha: "time_to_channel_concat", fast: "time_strided"}
    if joined not in kinds:
        raise UserError(
            f"weights {path}: has no lateral convolution and {joined} joined channels, which does not tell how the "
            "pathways meet; give the network's numbers with config="
        )
    return {"lateral": kinds[joined]}


def _facts(
    content: WeightsContent, tensors: Mapping[str, Tensor], frames: int | None, alpha: int | None,
    aligned: bool | None, head: str | None, path: str | Path,
) -> dict[str, Any]:
    """What tensors cannot tell: from the arguments, else from PySlowFast's recipe in the file, else usual values."""
    recipe = Recipe(content.recipe)
    classes = int(tensors["head.projection.weight"].shape[0]) if "head.projection.weight" in tensors else 0
    if head is None:
        head = _head_kind(content, recipe, classes, path)
    single = "s1.pathway1_stem.conv.weight" not in tensors
    if alpha is None:
        alpha = 1 if single and frames is not None else int(recipe.number("SLOWFAST", "ALPHA") or 4)
    if frames is None:
        frames = recipe.number("DATA", "NUM_FRAMES")
        if frames is not None and single:
            alpha = 1  # PySlowFast counts a Slow-only network's own frames
        frames = frames or 32
    if aligned is None:
        aligned = head == "detection" and recipe.word("DETECTION", "ALIGNED") == "true"
    if any("_nonlocal" in name for name in tensors) and recipe.word("NONLOCAL", "INSTANTIATION") == "softmax":
        raise UserError(f"weights {path}: its non-local blocks use a softmax, expected the paper's dot product")
    activation = "softmax" if head == "classification" and classes != CHARADES_CLASSES else "sigmoid"
    activation = recipe.word("MODEL", "HEAD_ACT") or activation
    return {
        "num_frames": frames // alpha if single else frames, "alpha": 1 if single else alpha, "aligned": aligned,
        "head": head, "activation": activation, "nonlocal_pool": recipe.nonlocal_pool() or (2, 2, 2),
    }


def _head_kind(content: WeightsContent, recipe: Recipe, classes: int, path: str | Path) -> str:
    names = content.tensors.keys()
    if any("detection_head." in name for name in names):
        return "detection"
    if any(re.search(r"blocks\.[56]\.proj\.weight$", name) for name in names):
        return "classification"
    enabled = recipe.word("DETECTION", "ENABLE")
    if enabled:
        return "detection" if enabled == "true" else "classification"
    if classes in _CLASSES_OF_DETECTION:
        return "detection"
    if classes in _CLASSES_OF_CLASSIFICATION:
        return "classification"
    raise UserError(
        f"weights {path}: {classes} classes, and nothing in the file says whether they are people's (detection) or "
        "whole clips' (classification); say head='detection' or head='classification'"
    )


def _stored_config(content: WeightsContent, path: str | Path) -> SlowFastConfig | None:
    known = {field.name for field in fields(SlowFastConfig)}
    if not known & content.config.keys():
        return None
    try:
        return config_of(content.config)
    except ValueError as error:
        raise UserError(f"weights {path}: its stored configuration does not hold ({error})") from None


def _fitted(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Tensors in the shapes that the network wants; Caffe2 leaves trailing ones out."""
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    left_over = [name for name in tensors if name not in wanted]
    if missing or left_over:
        parts = [f"{_listed(missing)} missing"] * bool(missing) + [f"{_listed(left_over)} left over"] * bool(left_over)
        raise UserError(f"weights {path}: {' and '.join(parts)}, expected exactly this network's tensors")
    fitted = {}
    for name, target in wanted.items():
        if name.endswith("num_batches_tracked"):
            fitted[name] = torch.zeros((), dtype=torch.long)
            continue
        got, expected = tuple(tensors[name].shape), tuple(target.shape)
        if _without_trailing_ones(got) != _without_trailing_ones(expected):
            raise UserError(f"weights {path}: {name} has shape {got}, expected {expected}")
        fitted[name] = tensors[name].reshape(expected).contiguous()
    return fitted


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more + (" is" if len(names) == 1 else " are")


def _plain(config: SlowFastConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
