"""The network that a training starts from: other weights with another head, or random ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from detector.errors import UserError
from detector.labels import LabelMap
from detector.sampling import Sampling
from detector.slowfast.network import ActionNetwork, create_network, with_causality
from detector.training.paper import Plan
from detector.weights.choose import find_model, load_action_model, resolve_action_model
from detector.weights.records import ActionModel


def start_network(
    init: str, network_name: str, labels: LabelMap, plan: Plan, seed: int, causal: bool = False, clip_frames: int = 0
) -> tuple[ActionModel, ActionNetwork]:
    """Make the network to train.

    Args:
        init: weights to start from (a name or path as `--weights` takes it), or "random".
        network_name: published model whose numbers a random network takes.
        labels: the classes to learn.
        plan: gives head, activation and dropout.
        seed: of random weights.
        causal: make it look back only; from a start that does so already it does so anyway.
        clip_frames: of a causal network's training clips; 0 for as many as its head averages.

    Returns:
        Its record, without weights, and the network. The trunk is the start's; of the head, rows of actions that
        both know by name are kept, the others are new.
    """
    if init == "random":
        start, old = find_model(network_name), None
    else:
        start, path = resolve_action_model(init)
        old = load_action_model(start, path)
    if causal:
        start = start.as_causal()
        old = None if old is None else with_causality(old, True)
    sampling = _with_clip_frames(start, clip_frames)
    source = start.network if old is None else old.config
    config = replace(
        source, causal=start.network.causal, num_classes=len(labels), head=plan.head, activation=plan.activation,
        dropout=plan.dropout,
    )
    # The paper's initialisation (He et al. 2015), and zero scales at the end of residual blocks (Goyal et al. 2017)
    # where training starts from nothing.
    network = create_network(config, seed=seed, zero_init=old is None)
    model = ActionModel(f"{start.name}, {labels.name}", config, labels, sampling, start.view)
    if old is not None:
        _copy(old, network, start.labels, labels)
    return model, network


def _with_clip_frames(start: ActionModel, clip_frames: int) -> Sampling:
    if not clip_frames:
        return start.sampling
    n, least = start.network.frames_per_step, start.network.num_frames
    if not start.network.causal:
        raise UserError("--clip-frames: is for causal networks, expected --causal with it")
    if clip_frames < least or clip_frames % n:
        raise UserError(f"--clip-frames: got {clip_frames}, expected a multiple of {n}, {least} or more")
    return replace(start.sampling, num_frames=clip_frames)


def _copy(old: ActionNetwork, new: ActionNetwork, old_labels: LabelMap, labels: LabelMap) -> None:
    theirs, ours = old.state_dict(), new.state_dict()
    trunk = {name: value for name, value in theirs.items() if not name.startswith("head.")}
    missing = {name for name in ours if not name.startswith("head.")} ^ trunk.keys()
    if missing:
        raise UserError(f"--init: its trunk differs from the network to train in {', '.join(sorted(missing)[:3])}")
    new.load_state_dict(trunk, strict=False)
    known = {action.name: column for column, action in enumerate(old_labels)}
    same_width = theirs["head.projection.weight"].shape[1] == ours["head.projection.weight"].shape[1]
    with torch.no_grad():
        for column, action in enumerate(labels):
            if same_width and known.get(action.name, -1) in range(len(theirs["head.projection.weight"])):
                for name in ("head.projection.weight", "head.projection.bias"):
                    new.get_parameter(name)[column] = theirs[name][known[action.name]]
