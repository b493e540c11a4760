"""Our own weights file: tensors and the record that says how to use them, in one file.

Written by fine-tuning and for the bundled model, read by `--weights my.pt`. It is a `torch.save` of a plain
dictionary, so it loads with `weights_only=True` and can run no code:

    {"format": "slowfast-live action model", "format_version": 1, "record": JSON text, "tensors": {name: tensor}}
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import UserError
from detector.files import whole_file
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.bounds import config_of, is_number, is_whole
from detector.slowfast.containers import OWN_FORMAT, own_record
from detector.slowfast.pickle_notes import DamagedPickle, text_of
from detector.views import FrameView, TubeView
from detector.weights.records import ActionModel, WeightsFile

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
_LONGEST_TEXT = 4096
_VIEWS = {"frame": FrameView, "tube": TubeView}


def record_to_json(model: ActionModel) -> str:
    """The record as JSON text; `record_from_json` gives it back equal."""
    kind = next(kind for kind, view in _VIEWS.items() if type(model.view) is view)
    record = dataclasses.asdict(model)
    record["view"] = {"kind": kind, **record["view"]}
    # Programs from before these were there can read what does not have them.
    for name, default in (("thresholds", None), ("not_shown", ())):
        if record[name] == default:
            del record[name]
    return json.dumps(record, indent=1)


def record_from_json(text: str) -> ActionModel:
    """The record of a JSON text.

    Raises:
        ValueError, KeyError, TypeError: not a record of this version.
    """
    data: dict[str, Any] = dict(json.loads(text))
    view: dict[str, Any] = dict(data.pop("view"))
    view_type: Any = _VIEWS[view.pop("kind")]
    labels = data.pop("labels")
    weights = data.pop("weights")
    real = data.pop("works_on_real_video")
    thresholds = data.pop("thresholds", None)
    model = ActionModel(
        network=config_of(data.pop("network")),
        labels=LabelMap(labels["name"], tuple(Action(**action) for action in labels["actions"])),
        sampling=Sampling(**data.pop("sampling")),
        view=view_type(**view),
        weights=WeightsFile(**weights) if weights else None,
        works_on_real_video=None if real is None else tuple(real),
        thresholds=None if thresholds is None else tuple(thresholds),
        not_shown=tuple(data.pop("not_shown", ())),
        **data,
    )
    _check(model)
    return model


def _check(model: ActionModel) -> None:
    """Types and bounds of what a file states; a text in place of a number would be found out only in mid-run."""
    texts = [model.name, model.accuracy, model.notes, model.labels.name, *(a.name for a in model.labels),
             *(a.group for a in model.labels), *(model.works_on_real_video or ()), *model.not_shown]
    if not all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts):
        raise ValueError("got a text that is none or is longer than a page")
    if len(model.labels) != model.network.num_classes:
        raise ValueError(f"got {len(model.labels)} labels, expected {model.network.num_classes}, one a class")
    if model.thresholds is not None and len(model.thresholds) != len(model.labels):
        raise ValueError(f"thresholds: got {len(model.thresholds)}, expected {len(model.labels)}, one a label")
    sampling, view = model.sampling, model.view
    if model.network.causal:
        # A causal network's clips may be longer than what its head averages, and end with the key frame.
        n = model.network.frames_per_step
        fits = is_whole(sampling.num_frames, model.network.num_frames, 4096) and sampling.num_frames % n == 0
        if not fits or sampling.ahead != 0:
            raise ValueError(f"sampling: got {sampling!r:.80}, expected whole steps that end with the key frame")
    elif sampling.num_frames != model.network.num_frames:
        raise ValueError(f"sampling: got {sampling.num_frames!r:.20} frames, expected {model.network.num_frames}")
    if not isinstance(model.experimental, bool):
        raise ValueError(f"experimental: got {model.experimental!r:.40}, expected true or false")
    bounds = {"sampling.stride": (sampling.stride, 1, 1000), "sampling.fps": (sampling.fps, 0.01, 1000)}
    bounds |= {f"thresholds[{j}]": (value, 0, 1) for j, value in enumerate(model.thresholds or ())}
    for name, value in vars(view).items():
        if not isinstance(value, bool):
            bounds[f"view.{name}"] = (value, 0.1, 4096)
    for name, (value, low, high) in bounds.items():
        fits = is_whole(value, 1, high) if name.endswith(("_px", "stride")) else is_number(value, low, high)
        if not fits:
            raise ValueError(f"{name}: got {value!r:.40}, expected a number from {low:g} to {high:g}")


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
    import torch

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
    return own_record(path) is not None


def read_record(path: str | Path) -> ActionModel:
    """The record of a file, without building its network.

    Raises:
        UserError: not such a file, or one of a later version.
    """
    return _record(path, own_record(path))


def _record(path: str | Path, content: dict | None) -> ActionModel:
    if content is None:
        raise UserError(f"weights {path}: not a model file of this program; give one that training wrote")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"weights {path}: format version {version}, expected {FORMAT_VERSION}; update this program")
    try:
        return record_from_json(text_of(content["record"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DamagedPickle) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)[:120]
        raise UserError(f"weights {path}: its record is damaged ({reason}); save the model again") from None


def read_action_model(path: str | Path):
    """Read a file that `save_action_model` wrote.

    Returns:
        (ActionModel, network): the record and the network, float32, in evaluation mode, on the CPU.

    Raises:
        UserError: not such a file, damaged, or tensors that do not fit its record.
    """
    from detector.slowfast.checkpoints import load_network

    model = read_record(path)
    return model, load_network(path, config=model.network)
