"""Names in the cameras' file that only a model can confirm: models, detectors, actions. Opens no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from detector.errors import UserError, nearest_names
from detector.labels import LabelMap
from detector.weights.records import ActionModel
from stream.results import thresholds_for
from stream.service.mistakes import Mistakes
from stream.service.reading import Described
from stream.service.rule_reading import unknown_actions
from stream.service.settings import Camera


def labels_of(model: str) -> LabelMap:
    """The actions of a model by its name or weights file, or `auto`.

    Raises:
        UserError: there is no such model here.
    """
    from detector.weights.choose import resolve_action_model

    return resolve_action_model(model)[0].labels


def check_names(described: Described, labels_of: Callable[[str], LabelMap] = labels_of) -> None:
    """Check every camera's model, detector and actions.

    Args:
        described: the file.
        labels_of: gives a model's actions.

    Raises:
        Mistakes: one line for each name that is not known.
    """
    lines: list[str] = []
    labels: dict[str, LabelMap | UserError] = {}
    for name, camera in described.file.cameras.items():
        at = ("cameras", name)
        if camera.model not in labels:
            try:
                labels[camera.model] = labels_of(camera.model)
            except UserError as error:
                labels[camera.model] = error
        found = labels[camera.model]
        if isinstance(found, UserError):
            lines.append(f"{described.where.of((*at, 'model'))}: {found}")
        else:
            lines += _unknown_actions(described, name, camera, found)
            lines += unknown_actions(name, described.rules[name], found, described.where)
        try:
            _check_detector(camera.detector)
        except UserError as error:
            lines.append(f"{described.where.of((*at, 'detector'))}: {error}")
    if lines:
        raise Mistakes(list(dict.fromkeys(lines)))


def _unknown_actions(described: Described, name: str, camera: Camera, labels: LabelMap) -> list[str]:
    wanted: list[tuple[tuple[str | int, ...], str]]
    wanted = [(("thresholds", action), action) for action in camera.thresholds if action != "all"]
    wanted += [(("actions", i), action) for i, action in enumerate(camera.actions or [])]
    lines = []
    for key, action in wanted:
        try:
            labels.find(action)
        except UserError as error:
            lines.append(f"{described.where.of(('cameras', name, *key))}: {error}")
    return lines


def _check_detector(named: str) -> None:
    from detector.person.select import FACES
    from detector.weights.zoo import DETECTOR_MODELS

    detector = named.removesuffix(FACES)
    if detector == "auto" or detector in DETECTOR_MODELS or Path(detector).exists():
        return
    known = ["auto", *DETECTOR_MODELS]
    near = nearest_names(detector, known, 1)
    raise UserError(f"got {detector!r}, expected one of {', '.join(known)} or a .pth file; perhaps {near}?")


def thresholds_of(camera: Camera, model: ActionModel | LabelMap) -> np.ndarray:
    """(A,) float32 scores over which a camera's actions are shown; `all` first, then single ones."""
    settings = (f"{camera.thresholds['all']}",) if "all" in camera.thresholds else ()
    limits, labels = thresholds_for(model, settings), model if isinstance(model, LabelMap) else model.labels
    for action, score in camera.thresholds.items():
        if action != "all":
            limits[labels.find(action)] = score
    return limits


def actions_of(camera: Camera, labels: LabelMap) -> list[int] | None:
    """Columns of the actions that are of interest; None for all."""
    return None if camera.actions is None else sorted({labels.find(action) for action in camera.actions})
