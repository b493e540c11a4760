"""The network that a training starts from: other weights with another head, or random ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from detector.errors import UserError
from detector.labels import LabelMap
from detector.slowfast.network import ActionNetwork, create_network
from detector.training.paper import Plan
from detector.weights.choose import find_model, load_action_model, resolve_action_model
from detector.weights.records import ActionModel


def start_network(
    init: str, network_name: str, labels: LabelMap, plan: Plan, seed: int
) -> tuple[ActionModel, ActionNetwork]:
    """Make the network to train.

    Args:
        init: weights to start from (a name or path as `--weights` takes it), or "random".
        network_name: published model whose numbers a random network takes.
        labels: the classes to learn.
        plan: gives head, activation and dropout.
        seed: of random weights.

    Returns:
        Its record, without weights, and the network. The trunk is the start's; of the head, rows of actions that
        both know by name are kept, the others are new.
    """
    if init == "random":
        start, old = find_model(network_name), None
    else:
        start, path = resolve_action_model(init)
        old = load_action_model(start, path)
    source = start.network if old is None else old.config
    config = replace(
        source, num_classes=len(labels), head=plan.head, activation=plan.activation, dropout=plan.dropout
    )
    # The paper's initialisation (He et al. 2015), and zero scales at the end of residual blocks (Goyal et al. 2017)
    # where training starts from nothing.
    network = create_network(config, seed=seed, zero_init=old is None)
    model = ActionModel(f"{start.name}, {labels.name}", config, labels, start.sampling, start.view)
    if old is not None:
        _copy(old, network, start.labels, labels)
    return model, network


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
