"""What the published files call each tensor, and what it is called here. Text only.

Names here are PySlowFast's: `s4.pathway0_res5.branch2.a_bn.weight`. The two other schemes are Caffe2's blobs
(`res4_5_branch2a_bn_s`) and PyTorchVideo's modules
(`blocks.3.multipathway_blocks.0.res_blocks.5.branch2.norm_a.weight`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Naming = Literal["pyslowfast", "pytorchvideo", "caffe2"]

_BN_OF_BLOB = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_BLOB_OF_BN = {value: key for key, value in _BN_OF_BLOB.items()}
# One tensor that every file has, with whatever a wrapper put before it.
_STEMS: dict[Naming, re.Pattern[str]] = {
    "caffe2": re.compile(r"(.*\.)?(?:t_)?conv1_w"),
    "pyslowfast": re.compile(r"(.*\.)?s1\.pathway[01]_stem\.conv\.weight"),
    "pytorchvideo": re.compile(r"(.*\.)?blocks\.0\.(?:multipathway_blocks\.[01]\.)?conv\.weight"),
}
_CAFFE2_BOOKKEEPING = re.compile(r"(^|_)(momentum|model_iter)$|^(lr|iter)$")


def detect_naming(names: Iterable[str]) -> Naming | None:
    """Which scheme a file's tensor names follow; None if no one's."""
    for name in names:
        for naming, stem in _STEMS.items():
            if stem.fullmatch(_plain(name)):
                return naming
    return None


def wrapper_of(names: Iterable[str]) -> str:
    """What stands before every name of a file: `module.` of data-parallel training,
    `model.` of PyTorchVideo's detection network, or whatever attribute someone held the network in; "" for nothing."""
    for name in names:
        for stem in _STEMS.values():
            if match := stem.fullmatch(_plain(name)):
                return match[1] or ""
    return ""


def _plain(name: str) -> str:
    return name.replace("_orig_mod.", "")  # torch.compile's, which may stand before any part


def native_name(name: str, naming: Naming, wrapper: str = "model.") -> str | None:
    """A file's tensor name in PySlowFast's words.

    Args:
        name: as the file has it.
        naming: the file's scheme.
        wrapper: see `wrapper_of`; PyTorchVideo's head stands beside `model.`, so any outer part of it is taken off.

    Returns:
        The name; "" for training's bookkeeping (momentum, learning rate), which is no part of a network; None for a
        name that the scheme does not have.
    """
    name = _plain(name)
    while wrapper and not name.startswith(wrapper):
        wrapper = wrapper[: wrapper[:-1].rfind(".") + 1]
    name = name.removeprefix(wrapper)
    if naming == "caffe2":
        return "" if _CAFFE2_BOOKKEEPING.search(name) else _from_caffe2(name)
    return _from_pytorchvideo(name) if naming == "pytorchvideo" else name


def _from_caffe2(name: str) -> str | None:
    pathway = "1" if name.startswith("t_") else "0"
    bare = name.removeprefix("t_")
    if match := re.fullmatch(r"pred_([wb])", name):
        return f"head.projection.{_weight_or_bias(match[1])}"
    if match := re.fullmatch(r"nonlocal_conv([2-5])_(\d+)_(theta|phi|g|out)_([wb])", name):
        return f"s{match[1]}.pathway0_nonlocal{match[2]}.conv_{match[3]}.{_weight_or_bias(match[4])}"
    if match := re.fullmatch(r"nonlocal_conv([2-5])_(\d+)_bn_(s|b|rm|riv)", name):
        return f"s{match[1]}.pathway0_nonlocal{match[2]}.bn.{_BN_OF_BLOB[match[3]]}"
    if match := re.fullmatch(r"t_(?:pool(1)|res([2-4])_\d+_branch2c_bn)_subsample_(?:w|bn_(s|b|rm|riv))", name):
        part = f"bn.{_BN_OF_BLOB[match[3]]}" if match[3] else "conv_f2s.weight"
        return f"s{match[1] or match[2]}_fuse.{part}"
    if bare == "conv1_w":
        return f"s1.pathway{pathway}_stem.conv.weight"
    if match := re.fullmatch(r"res_conv1_bn_(s|b|rm|riv)", bare):
        return f"s1.pathway{pathway}_stem.bn.{_BN_OF_BLOB[match[1]]}"
    if match := re.fullmatch(r"res([2-5])_(\d+)_branch(1|2([abc]))_(?:w|bn_(s|b|rm|riv))", bare):
        branch = f"branch2.{match[4]}" if match[4] else "branch1"
        part = f"_bn.{_BN_OF_BLOB[match[5]]}" if match[5] else ".weight"
        return f"s{match[1]}.pathway{pathway}_res{match[2]}.{branch}{part}"
    return None


def _from_pytorchvideo(name: str) -> str | None:
    if match := re.fullmatch(r"(?:detection_head|blocks\.[56])\.proj\.(weight|bias)", name):
        return f"head.projection.{match[1]}"
    # A Slow-only network has its one pathway where the others have `multipathway_blocks.0`.
    if match := re.fullmatch(r"blocks\.0\.(?:multipathway_blocks\.([01])\.)?(conv|norm)\.(\w+)", name):
        return f"s1.pathway{match[1] or 0}_stem.{_norm_to_bn(match[2])}.{match[3]}"
    if match := re.fullmatch(r"blocks\.([0-3])\.multipathway_fusion\.(conv_fast_to_slow|norm)\.(\w+)", name):
        part = "bn" if match[2] == "norm" else "conv_f2s"
        return f"s{int(match[1]) + 1}_fuse.{part}.{match[3]}"
    block = r"blocks\.([1-4])\.(?:multipathway_blocks\.([01])\.)?res_blocks\.(\d+)\."
    if match := re.fullmatch(block + r"(?:branch1_(conv|norm)|branch2\.(conv|norm)_([abc]))\.(\w+)", name):
        kind = match[4] or match[5]
        branch = f"branch2.{match[6]}" if match[5] else "branch1"
        stage, suffix = int(match[1]) + 1, "_bn" if kind == "norm" else ""
        return f"s{stage}.pathway{match[2] or 0}_res{match[3]}.{branch}{suffix}.{match[7]}"
    return None


def file_name(name: str, naming: Naming, blocks: tuple[int, ...], single: bool, detection: bool) -> str | None:
    """The inverse: what a scheme calls a tensor of ours.

    Args:
        name: ours, as in `state_dict()`.
        naming: the scheme.
        blocks: of res2..res5; Caffe2 names a lateral connection after the last block before it.
        single: a Slow-only network; PyTorchVideo names that one differently.
        detection: PyTorchVideo names that head differently.

    Returns:
        The name, or None where the scheme has no word for it (PyTorchVideo has no non-local blocks).
    """
    if naming == "pyslowfast":
        return name
    if naming == "caffe2":
        return _to_caffe2(name, blocks)
    found = _to_pytorchvideo(name, single, detection)
    return f"model.{found}" if found and detection and not found.startswith("detection_head") else found


def _to_caffe2(name: str, blocks: tuple[int, ...]) -> str | None:
    *_, kind = name.split(".")
    weight = {"weight": "w", "bias": "b"}.get(kind)
    bn = f"bn_{_BLOB_OF_BN.get(kind)}"
    if name.startswith("head.projection."):
        return f"pred_{weight}"
    if match := re.match(r"s(\d)\.pathway0_nonlocal(\d+)\.(?:conv_(\w+)|bn)\.", name):
        return f"nonlocal_conv{match[1]}_{match[2]}_" + (f"{match[3]}_{weight}" if match[3] else bn)
    if match := re.match(r"s(\d)_fuse\.(conv_f2s|bn)\.", name):
        stage = int(match[1])
        start = "t_pool1" if stage == 1 else f"t_res{stage}_{blocks[stage - 2] - 1}_branch2c_bn"
        return f"{start}_subsample_" + ("w" if match[2] == "conv_f2s" else bn)
    if match := re.match(r"s1\.pathway([01])_stem\.(conv|bn)\.", name):
        start = "t_" if match[1] == "1" else ""
        return f"{start}conv1_w" if match[2] == "conv" else f"{start}res_conv1_{bn}"
    if match := re.match(r"s(\d)\.pathway([01])_res(\d+)\.(?:branch1|branch2\.([abc]))(_bn)?\.", name):
        start = "t_" if match[2] == "1" else ""
        branch = f"2{match[4]}" if match[4] else "1"
        return f"{start}res{match[1]}_{match[3]}_branch{branch}_" + (bn if match[5] else "w")
    return None


def _to_pytorchvideo(name: str, single: bool, detection: bool) -> str | None:
    if match := re.fullmatch(r"head\.projection\.(\w+)", name):
        return f"detection_head.proj.{match[1]}" if detection else f"blocks.{5 if single else 6}.proj.{match[1]}"
    if match := re.fullmatch(r"s1\.pathway([01])_stem\.(conv|bn)\.(\w+)", name):
        middle = "" if single else f"multipathway_blocks.{match[1]}."
        return f"blocks.0.{middle}{_bn_to_norm(match[2])}.{match[3]}"
    if match := re.fullmatch(r"s(\d)_fuse\.(conv_f2s|bn)\.(\w+)", name):
        part = "norm" if match[2] == "bn" else "conv_fast_to_slow"
        return f"blocks.{int(match[1]) - 1}.multipathway_fusion.{part}.{match[3]}"
    if match := re.fullmatch(r"s(\d)\.pathway([01])_res(\d+)\.(?:branch1|branch2\.([abc]))(_bn)?\.(\w+)", name):
        middle = "" if single else f"multipathway_blocks.{match[2]}."
        kind = "norm" if match[5] else "conv"
        branch = f"branch2.{kind}_{match[4]}" if match[4] else f"branch1_{kind}"
        return f"blocks.{int(match[1]) - 1}.{middle}res_blocks.{match[3]}.{branch}.{match[6]}"
    return None


def _weight_or_bias(letter: str) -> str:
    return "weight" if letter == "w" else "bias"


def _norm_to_bn(word: str) -> str:
    return "bn" if word == "norm" else word


def _bn_to_norm(word: str) -> str:
    return "norm" if word == "bn" else word
