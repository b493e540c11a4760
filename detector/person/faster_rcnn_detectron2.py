"""Faster R-CNN of detectron2's model zoo, kept to the person class. Optional: detectron2 is built from source.

The paper's own person detector is of this family (ResNeXt-101-FPN). Input BGR in 0..255; the predictor resizes to
a short side of 800. Weights are read by our own safe reader: detectron2's unpickles whatever it is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import UserError
from detector.person.state import load_detector_weights
from detector.types import Boxes

INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
PERSON = 0  # of COCO's 80 contiguous classes
CONFIGS = {
    "detectron2_r50": "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    "detectron2_x101": "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml",
}
# detectron2 throws away boxes under its own threshold early; ours may be lowered while running.
LOWEST_THRESHOLD = 0.05


class Detectron2Detector:
    """Finds people with detectron2's Faster R-CNN; see `PersonDetector`.

    Args:
        model: `detectron2_r50` or `detectron2_x101`.
        path: its weights, as the model zoo has them or as detectron2 saves them; None for random ones.
        threshold: confidence over which a box is a person.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: detectron2 is not installed, or the file is not this network's.
    """

    def __init__(self, model: str, path: Path | None, threshold: float = 0.8, device: str = "cpu") -> None:
        try:
            import detectron2
            from detectron2.config import get_cfg
            from detectron2.engine import DefaultPredictor
        except ImportError as error:
            raise UserError(f"person detector {model}: detectron2 is missing ({error}); run: {INSTALL}") from None
        self.name = f"{model} ({device})"
        self.notice = f"people: {self.name}"
        self.threshold = threshold
        config = get_cfg()
        # Its own `model_zoo.get_config_file` needs pkg_resources, which newer setuptools lack.
        config.merge_from_file(str(Path(detectron2.__file__).parent / "model_zoo" / "configs" / CONFIGS[model]))
        config.MODEL.WEIGHTS = ""
        config.MODEL.DEVICE = device
        config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = LOWEST_THRESHOLD
        self._predictor: Any = DefaultPredictor(config)
        if path is not None:
            load_detector_weights(self._predictor.model, path, model)

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        found = self._predictor(image)["instances"].to("cpu")
        keep = (found.pred_classes == PERSON) & (found.scores >= self.threshold)
        xyxy, score = found.pred_boxes.tensor[keep].numpy(), found.scores[keep].numpy()
        order = np.argsort(-score, kind="stable")
        return Boxes(xyxy[order], score[order]).clip_to(image.shape[:2])

    def fork(self) -> Detectron2Detector:
        """Itself: it remembers nothing between pictures."""
        return self

    def close(self) -> None:
        """Free the network."""
        self._predictor = None
