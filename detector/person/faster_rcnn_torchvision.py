"""Faster R-CNN as torchvision builds it, with its COCO weights, kept to the person class.

MobileNetV3-Large-320-FPN for a CPU, ResNet-50-FPN-v2 for a GPU (Ren et al. 2015; Li et al. 2021). Input RGB in
0..1; resizing and normalisation are inside torchvision's network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from detector.errors import UserError
from detector.person.state import load_detector_weights
from detector.slowfast.containers import read_weights_file
from detector.types import Boxes

PERSON = 1  # of COCO's 91 label ids as torchvision numbers them; 0 is the background
# torchvision throws away boxes under its own threshold early; ours may be lowered while running.
LOWEST_THRESHOLD = 0.05
# Tensors that only the one or the other network has.
_TELLING_TENSORS = {
    "torchvision_mobilenet": "backbone.body.0.0.weight", "torchvision_resnet50": "backbone.body.layer1.0.conv1.weight",
}


def _architectures() -> dict[str, Any]:
    from torchvision.models import detection

    return {
        "torchvision_mobilenet": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
        "torchvision_resnet50": detection.fasterrcnn_resnet50_fpn_v2,
    }


def architecture_of(path: Path) -> str:
    """Which of torchvision's networks a file of weights belongs to, by the names of its tensors.

    Raises:
        UserError: the file cannot be read, or belongs to none of them.
    """
    names = set(read_weights_file(path).tensors)
    for model, tensor in _TELLING_TENSORS.items():
        if tensor in names:
            return model
    raise UserError(f"person weights {path}: not of {' or '.join(_TELLING_TENSORS)}; expected torchvision's tensors")


def people_in(network: Any, image: np.ndarray, threshold: float, device: torch.device) -> Boxes:
    """What torchvision's Faster R-CNN finds in an (H, W, 3) uint8 BGR picture: people over the threshold, best first.

    Args:
        network: takes a list of (3, H, W) float pictures 0..1 and gives torchvision's dictionaries.
        image: the picture.
        threshold: confidence over which a box is a person.
        device: of the network.
    """
    with torch.inference_mode():
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(device)
        found = network([rgb.permute(2, 0, 1).float() / 255])[0]
        keep = (found["labels"] == PERSON) & (found["scores"] >= threshold)
        score = found["scores"][keep].cpu().numpy()
        xyxy = found["boxes"][keep].cpu().numpy()
    order = np.argsort(-score, kind="stable")
    return Boxes(xyxy[order], score[order]).clip_to(image.shape[:2])


class FasterRcnn:
    """What a Faster R-CNN of torchvision's does whatever computes it; see `PersonDetector`.

    Attributes:
        name, notice: as `PersonDetector` has them.
        threshold: confidence over which a box is a person.
        network: takes a list of (3, H, W) float pictures 0..1 and gives torchvision's dictionaries; None once closed.
        device: torch's, that the pictures go to.
    """

    def __init__(self, name: str, network: Any, threshold: float, device: torch.device) -> None:
        self.name, self.notice, self.threshold = name, f"people: {name}", threshold
        self.network, self.device = network, device

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        return people_in(self.network, image, self.threshold, self.device)

    def fork(self) -> Self:
        """Itself: it remembers nothing between pictures."""
        return self

    def close(self) -> None:
        """Free the network."""
        self.network = None


class TorchvisionDetector(FasterRcnn):
    """Finds people with torchvision's Faster R-CNN on PyTorch.

    Args:
        model: `torchvision_mobilenet` or `torchvision_resnet50`.
        path: its weights: a state dictionary.
        threshold: confidence over which a box is a person.
        device: `cpu`, `cuda` or `cuda:N`.

    Attributes:
        model: as given.

    Raises:
        UserError: the file is no such state dictionary.
    """

    def __init__(self, model: str, path: Path, threshold: float = 0.8, device: str = "cpu") -> None:
        self.model = model
        network: Any = _architectures()[model](
            weights=None, weights_backbone=None, box_score_thresh=LOWEST_THRESHOLD,
        )
        load_detector_weights(network, path, model)
        on = torch.device(device)
        super().__init__(f"{model} ({device})", network.eval().to(on), threshold, on)
