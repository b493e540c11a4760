"""What a visitor chose: model, thresholds, actions, display. Everything here comes from a browser: trust nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from detector.errors import UserError
from detector.labels import LabelMap
from detector.weights.records import ActionModel
from stream.results import Update, thresholds_for


@dataclass(frozen=True)
class Choices:
    """The controls of one visitor.

    Attributes:
        model: name of one of the server's models; "" for the first.
        person_threshold: confidence over which a box is a person, 0 to 1.
        action_threshold: score over which an action is shown; None for each action's own default.
        actions: names of the actions to show; empty for all.
        display: `now` draws the newest picture with the latest labels, `synced` waits for the picture's own.
    """

    model: str = ""
    person_threshold: float = 0.8
    action_threshold: float | None = None
    actions: tuple[str, ...] = ()
    display: Literal["now", "synced"] = "now"

    def thresholds(self, model: ActionModel | LabelMap) -> np.ndarray:
        """(A,) float32 score over which each action is shown; infinite for those that are not wanted.

        Raises:
            UserError: an action that the model does not know.
        """
        settings = () if self.action_threshold is None else (f"{self.action_threshold:g}",)
        limits = thresholds_for(model, settings)
        if self.actions:
            labels = model if isinstance(model, LabelMap) else model.labels
            wanted = [labels.find(name) for name in self.actions]
            hidden = np.setdiff1d(np.arange(len(labels)), wanted)
            limits[hidden] = np.inf
        return limits

    def keep_people(self, update: Update) -> Update:
        """The same update without people under this visitor's threshold; the detector may be set lower."""
        sure = update.boxes.score >= self.person_threshold
        if sure.all():
            return update
        return update.only(sure)


def read_choices(given: Mapping[str, Any], models: tuple[str, ...], default: Choices) -> Choices:
    """Check what a browser sent.

    Args:
        given: any of `model`, `person`, `action` (null for the defaults), `actions`, `display`.
        models: names that the server offers.
        default: for what is not given.

    Raises:
        UserError: a value of the wrong kind or out of range; one line.
    """
    model = given.get("model", default.model)
    model = models[0] if model is None or model == "" else model
    if not isinstance(model, str) or model not in models:
        raise UserError(f"model {shown_value(model, 60)}: not offered here, expected one of {', '.join(models)}")
    action = given.get("action", default.action_threshold)
    actions = given.get("actions", default.actions)
    if not isinstance(actions, list | tuple) or not all(isinstance(a, str) for a in actions) or len(actions) > 1000:
        raise UserError("actions: expected a list of names")
    display = given.get("display", default.display)
    if display != "now" and display != "synced":
        raise UserError(f"display {shown_value(display)}: expected now or synced")
    return Choices(
        model,
        _unit(given.get("person", default.person_threshold), "person threshold"),
        None if action is None else _unit(action, "action threshold"),
        tuple(actions),
        display,
    )


def _unit(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name}: got {shown_value(value)}, expected a number from 0 to 1")
    return float(value)


def shown_value(value: Any, most: int = 20) -> str:
    """What a browser sent, for an error's line; what is nested is only named, for it may be as deep as one likes."""
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    # Python refuses to write out numbers of thousands of digits.
    huge = isinstance(value, int) and abs(value) > 10**most
    return "a huge number" if huge else repr(str(value)[:most])
