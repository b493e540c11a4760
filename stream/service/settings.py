"""What the cameras' file may say: types, limits and a sentence for each key. The one door to pydantic's models.

Each field's description says what is expected; errors and the JSON Schema both use it. Nothing is read here
(`reading.py`) and nothing is opened.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from stream.service.hours import parse_hours


def _no_bool(value: Any) -> Any:
    # Python takes true for 1; nobody who writes `every: true` means one second.
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Point = tuple[Share, Share]
Polygon = Annotated[list[Point], Field(min_length=3)]
Seconds = Annotated[Number, Field(gt=0, le=3600)]
Score = Annotated[Number, Field(ge=0, le=1)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=65535)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Part(BaseModel):
    """A part of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Motion(Part):
    """When a quiet camera is woken."""

    gate: bool = Field(default=True, description="true or false: look closely only while something moves")
    sensitivity: Literal["low", "medium", "high"] = Field(default="medium", description="low, medium or high")
    masks: list[Polygon] = Field(
        default=[], description="areas where motion counts for nothing (a tree): lists of [x, y], shares of the picture"
    )
    still_every: Seconds = Field(
        default=2.0, description="seconds between looks at people while nothing moves, above 0, at most 3600"
    )
    empty_every: Seconds = Field(
        default=4.0,
        description="seconds between looks at a scene without anybody while nothing moves, above 0, at most 3600",
    )


class Decode(Part):
    """How pictures are taken out of the stream."""

    hardware: Literal["none", "auto", "vaapi", "cuda"] = Field(default="none", description="none, auto, vaapi or cuda")
    quiet: Literal["all", "keys"] | Annotated[int, BeforeValidator(_no_bool), Field(ge=2, le=1000)] = Field(
        default="all",
        description="all, keys or a number from 2 on: which pictures are looked at while nothing moves (keys: key "
        "frames alone, which saves most; 5: every fifth)",
    )


class Camera(Part):
    """One camera; each key may stand under `defaults` too."""

    source: SecretStr = Field(
        description="a camera's number or /dev path, a file, an rtsp:// or http:// address, or sample"
    )
    detect: SecretStr | None = Field(
        default=None, description="a second, small address of the same camera, which is looked at instead of source"
    )
    enabled: bool = Field(default=True, description="true or false: false leaves the camera off")
    model: str = Field(default="auto", description="an action model's name or weights file, or auto")
    detector: str = Field(default="auto", description="a person detector's name or .pth file, or auto")
    faces: bool = Field(
        default=False,
        description="true or false: look for the faces of people hidden behind others too, at twice the cost",
    )
    every: Seconds = Field(
        default=0.5, description="seconds between answers while something moves, above 0, at most 3600"
    )
    search_every: Seconds | None = Field(
        default=None,
        description="seconds between searches for people while something moves; as every where it is left out",
    )
    person_threshold: Score | None = Field(default=None, description="surety that a box is a person, 0 to 1")
    thresholds: dict[str, Score] = Field(
        default={}, description="scores over which actions are shown: action: 0 to 1, or all: 0 to 1"
    )
    actions: list[str] | None = Field(default=None, description="a list of the model's actions that are of interest")
    display_fps: Annotated[Number, Field(gt=0, le=30)] = Field(
        default=5.0, description="pictures a second for those who watch, above 0, at most 30"
    )
    smooth: Annotated[Number, Field(ge=0, le=60)] = Field(
        default=0.4, description="seconds over which shown scores are averaged, 0 to 60"
    )
    masks: list[Polygon] = Field(
        default=[],
        description="areas that are blacked out before anything looks: lists of [x, y], shares of the picture",
    )
    blur: Literal["none", "people", "faces"] = Field(default="none", description="none, people or faces")
    pictures: Literal["live", "none"] = Field(default="live", description="live or none: none keeps numbers only")
    schedule: list[str] = Field(
        default=[], description="when it is on: a list like 'mon-fri 08:00-18:00'; empty: always"
    )
    silent_limit: Seconds = Field(default=10.0, description="seconds without a picture after which health turns red")
    share: Annotated[Number, Field(gt=0, le=100)] = Field(
        default=1.0, description="how much of a full machine the camera gets beside the others, above 0, at most 100"
    )
    motion: Motion = Field(default=Motion(), description="keys: gate, sensitivity, masks, still_every, empty_every")
    decode: Decode = Field(default=Decode(), description="keys: hardware, quiet")
    zones: dict[str, Any] = Field(
        default={}, description="named areas for rules: a name, and a list of three or more [x, y]"
    )
    lines: dict[str, Any] = Field(default={}, description="named lines for rules: a name, and a list of two [x, y]")
    rules: list[Any] = Field(
        default=[], description="a list of rules; python -m stream.events example falls shows one"
    )

    @field_validator("source", "detect", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @field_validator("source", "detect")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("empty")
        return value

    @field_validator("schedule")
    @classmethod
    def _hours(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_hours(text)
        return value

    @property
    def watched(self) -> str:
        """The address that is looked at."""
        return (self.detect or self.source).get_secret_value()

    @property
    def without_rules(self) -> Camera:
        """What a running camera depends on: rules are asked about its answers, and may change while it runs."""
        return self.model_copy(update={"zones": {}, "lines": {}, "rules": []})


class Server(Part):
    """Where state, metrics and pictures are served."""

    enabled: bool = Field(default=True, description="true or false")
    host: str = Field(default="127.0.0.1", description="the address to listen on; beyond 127.0.0.1 a token is needed")
    port: Port = Field(default=8089, description="a port, 0 to 65535")
    token: SecretStr | None = Field(
        default=None, description="what callers send as 'Authorization: Bearer …', 16 characters or more"
    )
    hosts: list[str] = Field(
        default=[],
        description="names under which the service may be called, beside localhost and the host's own address",
    )

    @field_validator("token")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("too short")
        return value

    @property
    def loopback(self) -> bool:
        """Only this machine can call."""
        return self.host in ("127.0.0.1", "localhost", "::1")


class File(Part):
    """The whole file."""

    defaults: dict[str, Any] = Field(
        default={}, description="keys of a camera, for all cameras that do not say otherwise"
    )
    server: Server = Field(default=Server(), description="keys: enabled, host, port, token, hosts")
    events: dict[str, Any] | None = Field(
        default=None, description="where events are kept and told, keys: store, films, mqtt, tell, timezone"
    )
    cameras: dict[str, Camera] = Field(description="one entry a camera: a name, and below it its keys")

    @field_validator("cameras")
    @classmethod
    def _names(cls, value: dict[str, Camera]) -> dict[str, Camera]:
        if not value:
            raise ValueError("no camera")
        return value

    @model_validator(mode="after")
    def _token(self) -> File:
        if self.server.enabled and not self.server.loopback and self.server.token is None:
            raise ValueError(f"server.token: none, expected one because server.host is {self.server.host}")
        return self
