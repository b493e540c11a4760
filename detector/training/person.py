"""Fine-tune torchvision's Faster R-CNN on people's boxes, as the paper fine-tunes its own on AVA's.

The paper's detector has an AP at IoU 0.5 of 93.9 on AVA's validation, and at a confidence of 0.8 a recall of 91.1 %
and a precision of 90.7 % (section 5). The same figures of ours are printed at the end.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.data.box_clips import BoxClips
from detector.data.samples import KeyFrameSample
from detector.errors import UserError
from detector.evaluation.ava import average_precision
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.training.datasets import Sources, open_clips
from detector.training.paper import Plan
from detector.training.recipe import Execution, Recipe
from detector.types import iou
from detector.views import FrameView
from detector.weights.records import ActionModel

PERSON = 1  # of COCO's label ids as torchvision numbers them; the 91 classes stay, so the file loads as COCO's does
PAPER_CONFIDENCE = 0.8
ONE_FRAME = Sampling(num_frames=1, stride=1)


class PersonNetwork(nn.Module):
    """Faster R-CNN with the training loop's interface: one-frame clips, the frame's people as ROI rows.

    In training mode the "logits" are the sum of torchvision's losses, one row; in evaluation mode use `find`.
    """

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, frames: Tensor, rois: Tensor | None, activate: bool = False) -> Tensor:
        """frames (B, 1, H, W, 3) uint8 RGB, rois (K, 5) in their pixels; gives (1, 1)."""
        assert rois is not None
        targets = []
        for i in range(len(frames)):
            boxes = rois[rois[:, 0] == i, 1:]
            boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
            targets.append({"boxes": boxes, "labels": torch.full((len(boxes),), PERSON, device=boxes.device)})
        losses = self.detector([self._image(frame) for frame in frames], targets)
        return torch.stack(list(losses.values())).sum().reshape(1, 1)

    def find(self, frame: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """People of one frame (1, H, W, 3): xyxy (N, 4) and scores (N,), best first."""
        found = self.detector([self._image(frame)])[0]
        people = found["labels"] == PERSON
        return found["boxes"][people].cpu().numpy(), found["scores"][people].cpu().numpy()

    @staticmethod
    def _image(frame: Tensor) -> Tensor:
        return frame[0].permute(2, 0, 1).float() / 255


def sum_of_losses(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loop's loss: torchvision's losses are means already, so each part counts once."""
    return outputs.sum(), torch.ones((), device=outputs.device)


@dataclass(frozen=True)
class PersonFigures:
    """How well people are found.

    Attributes:
        ap50: average precision at IoU 0.5 over all confidences.
        recall, precision: at the confidence asked for.
    """

    ap50: float
    recall: float
    precision: float


def measure_people(
    found: list[tuple[np.ndarray, np.ndarray]], wanted: list[np.ndarray], confidence: float = PAPER_CONFIDENCE,
    least_iou: float = 0.5,
) -> PersonFigures:
    """Compare people found with people there.

    Args:
        found: for each picture xyxy (N, 4) and scores (N,).
        wanted: for each picture xyxy (M, 4) in the same pixels.
        confidence: for recall and precision.
        least_iou: that a hit needs; each person is found once, the best-scored box first.
    """
    scores: list[float] = []
    hits: list[bool] = []
    for (boxes, confidences), people in zip(found, wanted):
        free = np.ones(len(people), bool)
        order = np.argsort(-confidences, kind="stable")
        overlaps = iou(boxes[order].astype(float), people.astype(float))
        for row, score in zip(overlaps, confidences[order]):
            row = np.where(free, row, -1.0)
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= least_iou
            if hit:
                free[best] = False
            scores.append(float(score))
            hits.append(bool(hit))
    total = sum(len(people) for people in wanted)
    by_score = np.argsort(-np.array(scores), kind="stable")
    true = np.cumsum(np.array(hits, bool)[by_score])
    ap = average_precision(true / np.arange(1, len(true) + 1), true / max(total, 1))
    sure = np.array(scores) >= confidence
    right = int(np.array(hits, bool)[sure].sum())
    return PersonFigures(ap, right / max(total, 1), right / max(int(sure.sum()), 1))


@dataclass
class PersonValidation:
    """Finds people in every held-out key frame."""

    dataset: BoxClips
    figures: PersonFigures | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """`AP50`, `recall` and `precision` at 0.8."""
        assert isinstance(network, PersonNetwork)
        device = next(network.parameters()).device
        found, wanted = [], []
        with torch.inference_mode():
            for index in range(len(self.dataset)):
                frames, boxes, _ = self.dataset[index]
                found.append(network.find(torch.from_numpy(frames).to(device)))
                wanted.append(boxes)
        self.figures = measure_people(found, wanted)
        return {"AP50": self.figures.ap50, "recall": self.figures.recall, "precision": self.figures.precision}


def create_person_network(init: str) -> PersonNetwork:
    """Faster R-CNN with weights: `torchvision_mobilenet` or `torchvision_resnet50` (COCO's, from the cache), the
    same name with a file after a colon, or `random:` before the name for random weights.

    Raises:
        UserError: unknown name, weights not cached or not of this network.
    """
    from torchvision.models import detection

    architectures: dict[str, Any] = {
        "torchvision_mobilenet": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
        "torchvision_resnet50": detection.fasterrcnn_resnet50_fpn_v2,
    }
    random = init.startswith("random:")
    name, _, file = init.removeprefix("random:").partition(":")
    if name not in architectures:
        raise UserError(f"--init {init}: expected {' or '.join(architectures)}, with :FILE for weights of your own")
    detector = architectures[name](weights=None, weights_backbone=None)
    if not random:
        from detector.person.state import load_detector_weights
        from detector.weights.cache import require_cached
        from detector.weights.zoo import DETECTOR_MODELS

        weights = DETECTOR_MODELS[name].weights
        assert weights is not None
        load_detector_weights(detector, Path(file) if file else require_cached(name, weights), name)
    return PersonNetwork(detector)


def people_alone(samples: list[KeyFrameSample]) -> list[KeyFrameSample]:
    """Every labelled box as a person, whatever they do."""
    return [replace(s, targets=np.ones((len(s.boxes), 1), np.float32)) for s in samples]


def train_person_detector(
    args: argparse.Namespace, plan: Plan, recipe: Recipe, execution: Execution, sources: Sources, folder: Path
) -> int:
    """Run `--recipe person`: train, measure, write person.pth (a state dictionary as torchvision's)."""
    from detector.training.loop import train

    network = create_person_network("torchvision_mobilenet" if args.init == "auto" else args.init)
    model = ActionModel("people", SlowFastConfig(), sources.labels(), ONE_FRAME, FrameView(256))
    clips = open_clips(sources, plan, model)
    assert isinstance(clips.train, BoxClips)
    assert isinstance(clips.validation, BoxClips)
    for part in (clips.train, clips.validation):
        part.samples = people_alone(part.samples)
    print(f"{len(clips.train)} pictures to train on, {len(clips.validation)} to validate on")
    validate = PersonValidation(clips.validation)
    state = train(
        network, clips.train, recipe, folder, execution=execution, validate=validate, loss=sum_of_losses
    )
    torch.save(network.detector.state_dict(), folder / "person.pth")
    figures = {**state.best_metrics, "confidence": PAPER_CONFIDENCE, "iou": 0.5}
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(
        f"AP50 {100 * figures['AP50']:.1f}; at confidence {PAPER_CONFIDENCE}: recall {100 * figures['recall']:.1f} %, "
        f"precision {100 * figures['precision']:.1f} % (the paper's own on AVA: 93.9; 91.1 %, 90.7 %)"
    )
    print(f"wrote {folder / 'person.pth'}")
    return 0
