"""All cameras at one moment, as metrics, the status table and the API show them. Records only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from stream.service.counts import Numbers, State


@dataclass(frozen=True)
class CameraNow:
    """One camera.

    Attributes:
        name, state, message: for people; no credentials.
        wanted: it should be on now.
        silent_s, too_silent: seconds without a picture, and whether that is over its limit.
        awake: something moves.
        numbers: what it did.
    """

    name: str
    state: State
    message: str
    wanted: bool
    silent_s: float
    too_silent: bool
    awake: bool
    numbers: Numbers = field(default_factory=Numbers)


@dataclass(frozen=True)
class Snapshot:
    """All of them, and the process."""

    cameras: tuple[CameraNow, ...] = ()
    waiting: dict[str, int] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    memory_bytes: int = 0
    threads: int = 0
    listener_drops: int = 0
    reloads: int = 0
    refused: bool = False
    up_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For the API."""
        return asdict(self)


def is_ready(snapshot: Snapshot) -> tuple[bool, list[str]]:
    """Whether every camera that should be on gives pictures; one line for each that does not."""
    red = [
        f"{camera.name}: silent for {camera.silent_s:.0f} s" + (f" ({camera.message})" if camera.message else "")
        for camera in snapshot.cameras if camera.too_silent
    ]
    return not red, red
