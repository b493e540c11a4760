"""People and their actions, in PyTorch: networks, weights, person detectors, training, evaluation.

Nothing in this package knows of cameras, wall-clock time or engines, and importing it imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.doors import lazy_door

if TYPE_CHECKING:
    from detector.errors import UserError
    from detector.labels import Action, LabelMap, load_labels
    from detector.person import PersonDetector
    from detector.person.select import create_person_detector
    from detector.tracking import Tracker
    from detector.types import Boxes, Clip, Detections, Frame
    from detector.weights.choose import load_action_model, resolve_action_model
    from detector.weights.records import ActionModel

__version__ = "0.1.0"

__all__ = [
    "Action", "ActionModel", "Boxes", "Clip", "Detections", "Frame", "LabelMap", "PersonDetector", "Tracker",
    "UserError", "create_person_detector", "load_action_model", "load_labels", "resolve_action_model",
]

__getattr__, __dir__ = lazy_door(__name__, {
    "Action": "detector.labels",
    "ActionModel": "detector.weights.records",
    "Boxes": "detector.types",
    "Clip": "detector.types",
    "Detections": "detector.types",
    "Frame": "detector.types",
    "LabelMap": "detector.labels",
    "PersonDetector": "detector.person",
    "Tracker": "detector.tracking",
    "UserError": "detector.errors",
    "create_person_detector": "detector.person.select",
    "load_action_model": "detector.weights.choose",
    "load_labels": "detector.labels",
    "resolve_action_model": "detector.weights.choose",
})
