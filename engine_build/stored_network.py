"""A network on disk whose weights are read when somebody computes with them: its engine is found by a few facts.

The facts (a hash over the weights, whether they are trained, how many) are kept beside the engines, by the hash of the
weights file, so that a start that finds its engine reads no weights and imports no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.files import write_whole
from detector.slowfast.config import SlowFastConfig
from detector.weights.choose import load_action_model
from detector.weights.records import ActionModel
from engine_build.cache import EngineCache
from engine_build.manifest import sha256_of_file, sha256_of_weights
from engine_build.verify import is_trained

if TYPE_CHECKING:
    from detector.slowfast.network import ActionNetwork

# Raise it when the same file is read into other tensors than before.
READER_VERSION = 1
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Facts:
    """What must be known of a network's weights to find its engine.

    Attributes:
        weights_sha256: as `manifest.sha256_of_weights` of its state.
        trained: as `verify.is_trained`.
        parameters: how many numbers it has learnt.
    """

    weights_sha256: str
    trained: bool
    parameters: int


def facts_of(network: Any) -> Facts:
    """The facts of an `ActionNetwork`, computed, or of a `StoredNetwork`, looked up."""
    if isinstance(network, StoredNetwork):
        return network.facts()
    return Facts(
        sha256_of_weights(network.state_dict()), is_trained(network), sum(p.numel() for p in network.parameters())
    )


class StoredNetwork:
    """See the module.

    Attributes:
        model: the network's record.
        path: its weights file; None for random weights, which are made anew each time.
    """

    def __init__(self, model: ActionModel, path: Path | None, cache_dir: Path | str | None = None) -> None:
        """
        Args:
            model, path: as `detector.weights.choose.resolve_action_model` gave them.
            cache_dir: of engines; the user's where None.
        """
        self.model, self.path = model, path
        self._cache = EngineCache(cache_dir, report=lambda line: None)
        self._network: ActionNetwork | None = None
        self._facts: Facts | None = None

    @property
    def config(self) -> SlowFastConfig:
        """The network's numbers."""
        return self._network.config if self._network is not None else self.model.network

    def load(self) -> ActionNetwork:
        """The network in evaluation mode, on the CPU; read once.

        Raises:
            UserError: the file is not weights of this network.
        """
        if self._network is None:
            self._network = load_action_model(self.model, self.path)
        return self._network

    def facts(self) -> Facts:
        """The facts, from beside the engines or, the first time, from the network.

        Raises:
            UserError: as `load`.
        """
        if self._facts is None:
            place = self._place()
            self._facts = _read(place) if place else None
            if self._facts is None:
                self._facts = facts_of(self.load())
                if place and self.config == self.model.network:
                    _write(self._cache, place, self._facts)
        return self._facts

    def _place(self) -> Path | None:
        """Where the facts are kept; None where that cannot be said."""
        if self.path is None:
            return None
        try:
            file = sha256_of_file(self.path)
        except OSError:
            return None  # who reads the weights says what is wrong
        words = f"{file} {self.model.network} v{READER_VERSION}"
        return self._cache.folder / f"weights-{hashlib.sha256(words.encode()).hexdigest()[:24]}.json"


def _read(place: Path) -> Facts | None:
    """Facts that were written by `_write`; None for anything else."""
    try:
        if place.is_symlink() or not place.is_file() or place.stat().st_size > _MOST_BYTES:
            return None
        facts = Facts(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = (str, bool, int)
    whole = all(type(value) is kind for value, kind in zip(dataclasses.astuple(facts), kinds, strict=True))
    return facts if whole and len(facts.weights_sha256) == 64 else None


def _write(cache: EngineCache, place: Path, facts: Facts) -> None:
    if cache.refusal():
        return
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(dataclasses.asdict(facts), indent=1))
    except OSError:
        return  # a full disk: who stores the engine says so


def loaded(network: Any) -> ActionNetwork:
    """The network itself, whether it was given or is stored.

    Raises:
        UserError: as `StoredNetwork.load`.
    """
    return network.load() if isinstance(network, StoredNetwork) else network
