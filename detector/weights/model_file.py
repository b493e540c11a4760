"""Our own weights file: tensors and the record that says how to use them, in one file.

Written by fine-tuning and for the bundled model, read by `--weights my.pt`. It is a `torch.save` of a plain
dictionary, so it loads with `weights_only=True` and can run no code:

    {"format": "slowfast-live action model", "format_version": 1, "record": JSON text, "tensors": {name: tensor}}
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from detector.errors import UserError
from detector.files import whole_file
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.containers import OWN_FORMAT
from detector.views import FrameView, TubeView
from detector.weights.records import ActionModel, WeightsFile

FORMAT_VERSION = 1
_VIEWS = {"frame": FrameView, "tube": TubeView}


def record_to_json(model: ActionModel) -> str:
    """The record as JSON text; `record_from_json` gives it back equal."""
    kind = next(kind for kind, view in _VIEWS.items() if type(model.view) is view)
    record = dataclasses.asdict(model)
    record["view"] = {"kind": kind, **record["view"]}
    return json.dumps(record, indent=1)


def record_from_json(text: str) -> ActionModel:
    """The record of a JSON text.

    Raises:
        ValueError, KeyError, TypeError: not a record of this version.
    """
    data: dict[str, Any] = json.loads(text)
    view: dict[str, Any] = dict(data.pop("view"))
    view_type: Any = _VIEWS[view.pop("kind")]
    network: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.pop("network").items()}
    labels = data.pop("labels")
    weights = data.pop("weights")
    real = data.pop("works_on_real_video")
    return ActionModel(
        network=SlowFastConfig(**network),
        labels=LabelMap(labels["name"], tuple(Action(**action) for action in labels["actions"])),
        sampling=Sampling(**data.pop("sampling")),
        view=view_type(**view),
        weights=WeightsFile(**weights) if weights else None,
        works_on_real_video=None if real is None else tuple(real),
        **data,
    )


def save_action_model(path: str | Path, model: ActionModel, network: torch.nn.Module, half: bool = False) -> None:
    """Write a network and its record to one file, whole or not at all.

    Args:
        path: where; its folder exists.
        model: the record. `weights.licence` and `weights.source` say where the numbers come from.
        network: of `model.network`'s shape.
        half: store floating-point tensors in half precision: half the size, about three digits.

    Raises:
        ValueError: the network's number of classes is not the number of labels.
    """
    if model.network.num_classes != len(model.labels):
        raise ValueError(f"labels: got {len(model.labels)}, expected {model.network.num_classes}, one a class")
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    content = {
        "format": OWN_FORMAT, "format_version": FORMAT_VERSION, "record": record_to_json(model), "tensors": tensors,
    }
    path = Path(path)
    with whole_file(path) as file:
        torch.save(content, file)


def is_action_model_file(path: str | Path) -> bool:
    """Whether a file is one that `save_action_model` wrote, by content."""
    return _load(path) is not None


def _load(path: str | Path) -> dict | None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises a different type for each kind of wrong file
        return None
    return content if isinstance(content, dict) and content.get("format") == OWN_FORMAT else None


def read_record(path: str | Path) -> ActionModel:
    """The record of a file, without building its network.

    Raises:
        UserError: not such a file, or one of a later version.
    """
    return _record(path, _load(path))


def _record(path: str | Path, content: dict | None) -> ActionModel:
    if content is None:
        raise UserError(f"weights {path}: not a model file of this program; give one that training wrote")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"weights {path}: format version {version}, expected {FORMAT_VERSION}; update this program")
    try:
        return record_from_json(content["record"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"weights {path}: its record is damaged ({error!r}); save the model again") from None


def read_action_model(path: str | Path):
    """Read a file that `save_action_model` wrote.

    Returns:
        (ActionModel, network): the record and the network, float32, in evaluation mode, on the CPU.

    Raises:
        UserError: not such a file, damaged, or tensors that do not fit its record.
    """
    from detector.slowfast.network import create_network

    content = _load(path)
    model = _record(path, content)
    assert content is not None
    network = create_network(model.network)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in content["tensors"].items()
    }
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:160]
        raise UserError(f"weights {path}: tensors do not fit the record ({detail}); save the model again") from None
    return model, network.eval()
