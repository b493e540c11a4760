"""Faster R-CNN as torchvision builds it, with its COCO weights, kept to the person class.

MobileNetV3-Large-320-FPN for a CPU, ResNet-50-FPN-v2 for a GPU (Ren et al. 2015; Li et al. 2021). Input RGB in
0..1; resizing and normalisation are inside torchvision's network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.person.state import load_detector_weights
from detector.types import Boxes

PERSON = 1  # of COCO's 91 label ids as torchvision numbers them; 0 is the background
# torchvision throws away boxes under its own threshold early; ours may be lowered while running.
LOWEST_THRESHOLD = 0.05


def _architectures() -> dict[str, Any]:
    from torchvision.models import detection

    return {
        "torchvision_mobilenet": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
        "torchvision_resnet50": detection.fasterrcnn_resnet50_fpn_v2,
    }


class TorchvisionDetector:
    """Finds people with torchvision's Faster R-CNN; see `PersonDetector`.

    Args:
        model: `torchvision_mobilenet` or `torchvision_resnet50`.
        path: its weights: a state dictionary.
        threshold: confidence over which a box is a person.
        device: `cpu`, `cuda` or `cuda:N`.

    Attributes:
        model: as given.
        network: torchvision's; None once closed.
        device: torch's.

    Raises:
        UserError: the file is no such state dictionary.
    """

    def __init__(self, model: str, path: Path, threshold: float = 0.8, device: str = "cpu") -> None:
        self.name = f"{model} ({device})"
        self.notice = f"people: {self.name}"
        self.threshold = threshold
        self.model = model
        self.device = torch.device(device)
        network = _architectures()[model](
            weights=None, weights_backbone=None, box_score_thresh=LOWEST_THRESHOLD,
        )
        load_detector_weights(network, path, model)
        self.network: Any = network.eval().to(self.device)

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(self.device)
        found = self.network([rgb.permute(2, 0, 1).float() / 255])[0]
        keep = (found["labels"] == PERSON) & (found["scores"] >= self.threshold)
        score = found["scores"][keep].cpu().numpy()
        xyxy = found["boxes"][keep].cpu().numpy()
        order = np.argsort(-score, kind="stable")
        return Boxes(xyxy[order], score[order]).clip_to(image.shape[:2])

    def fork(self) -> TorchvisionDetector:
        """Itself: it remembers nothing between pictures."""
        return self

    def close(self) -> None:
        """Free the network."""
        self.network = None
