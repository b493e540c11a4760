"""How an archive is worked through: plain values that travel to other processes, and a digest of all that decides."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detector.device import pick_device
from detector.weights.cache import cached_package, cached_path
from detector.weights.choose import resolve_action_model
from detector.weights.zoo import AUTO_DETECTOR, DETECTOR_MODELS, POSENET
from stream.archive.books import VERSION
from stream.results import thresholds_for


@dataclass(frozen=True)
class Settings:
    """As the command's options of the same names.

    Attributes:
        model, detector, engine, precision, device, person_threshold, untrained, causal: as of `open_session`.
        every_s: seconds between key frames.
        thresholds: as of `results.thresholds_for`.
        all_scores: every class in the JSON lines.
        rules: a file of rules, or "".
    """

    model: str = "auto"
    detector: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    person_threshold: float | None = None
    untrained: bool = False
    causal: bool = False
    every_s: float = 1.0
    thresholds: tuple[str, ...] = ()
    all_scores: bool = False
    rules: str = ""

    def session_options(self) -> dict[str, Any]:
        """Arguments of `open_session`, without `report`."""
        names = ("engine", "precision", "device", "person_threshold", "untrained", "causal")
        return {"model": self.model, "detector": self.detector, **{name: getattr(self, name) for name in names}}

    def check(self) -> None:
        """Find mistakes before any video is opened: thresholds and rules against the model's actions.

        Raises:
            UserError: one.
        """
        model, _ = resolve_action_model(self.model, allow_untrained=self.untrained)
        thresholds_for(model.labels, self.thresholds)
        if self.rules:
            from stream.events.needs import check_packages

            check_packages()
            from stream.events.config import load_events_file
            from stream.events.engine import check_actions

            rules, lines = load_events_file(self.rules)
            for path, message in check_actions(rules, model.labels)[:1]:
                raise lines.error(path, message)

    def digest(self) -> str:
        """A hash over the settings, the content of the files that they name, and what `auto` means now."""
        model, path = resolve_action_model(self.model, allow_untrained=self.untrained)
        facts = asdict(self) | {
            "version": VERSION, "model": model.name, "weights": _content(path), "rules": _content(self.rules or None),
            "detector": self._detector(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _detector(self) -> list[str]:
        if self.detector in DETECTOR_MODELS:
            return [self.detector]
        if self.detector != "auto":
            return [_content(self.detector)]
        # What `auto` takes depends on what is in the cache.
        kind = "cuda" if pick_device(self.device).startswith("cuda") else "cpu"
        weights = [DETECTOR_MODELS[name].weights for name in AUTO_DETECTOR[kind]]
        found = [file.filename for file in weights if file is not None and cached_path(file)]
        return ["auto", kind, *found, *(["faces"] if cached_package(POSENET) else [])]


def _content(path: str | Path | None) -> str:
    if path is None:
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(partial(file.read, 1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


