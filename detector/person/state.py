"""Putting a weights file into a Faster R-CNN, safely and strictly, whoever built the network."""

from __future__ import annotations

from pathlib import Path

import torch

from detector.errors import UserError
from detector.slowfast.containers import read_weights_file

# In files, but made anew by the network.
_CONSTANTS = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator", "anchor_generator")


def load_detector_weights(network: torch.nn.Module, path: Path, model: str) -> None:
    """Load a state dictionary, bare or under `model`, into a detector without running anything of the file.

    What the file need not have: constants that the network makes itself (anchors, pixel means, counters).

    Raises:
        UserError: the file cannot be read, or its tensors are not those of this network.
    """
    tensors = read_weights_file(path).tensors
    wanted = {
        name: tensor for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked") and not name.startswith(_CONSTANTS)
    }
    wrong = [name for name, tensor in wanted.items() if name not in tensors or tensors[name].shape != tensor.shape]
    foreign = [name for name in tensors if name not in network.state_dict() and not name.startswith(_CONSTANTS)]
    if wrong or foreign:
        example = f"{wrong[0]} is missing or has another shape" if wrong else f"{foreign[0]} is not part of it"
        raise UserError(
            f"person weights {path}: not those of {model} ({len(wrong) + len(foreign)} tensors do not fit; {example}); "
            f"delete the file and run: python -m detector.weights fetch {model}"
        )
    network.load_state_dict({n: t for n, t in tensors.items() if n in network.state_dict()}, strict=False)
