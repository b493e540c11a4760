"""The rest of a file of events: where they are kept, filmed and told. Rules are in `rules`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from stream.events.records import ChangeKind
from stream.events.rule_file import Lines, build, read_yaml
from stream.events.rules import Hours, Misplaced, Name, Names, RuleSet, Seconds, Strict


def _per(value: Any) -> Any:
    """`5 per 10m` as (5, 600.0)."""
    from stream.events.rules import seconds

    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+)\s*(?:per|/)\s*(\S+)\s*", value)
        if not found or int(found[1]) < 1:
            raise ValueError("expected so many in a time, such as 5 per 10m")
        return int(found[1]), seconds(found[2])
    return value


def _at_start() -> list[ChangeKind]:
    return ["start"]


class StoreConfig(Strict):
    """Where events are kept: a SQLite file or a PostgreSQL address; "" for the data folder."""

    url: SecretStr = SecretStr("")
    keep: Seconds = Field(default=90 * 86400.0, description="events older than this are deleted")


class FilmConfig(Strict):
    """What is filmed of events.

    Attributes:
        folder: "" for `films` in the data folder.
        before, after: seconds around an event.
        longest: of a film; a long event's film ends there.
        keep, keep_gb: oldest are deleted beyond either.
        spare_gb: of the disk that is left free; oldest are deleted, then nothing is filmed.
        memory_mb: of packets kept for the seconds before, a camera.
    """

    films: bool = True
    snapshots: bool = True
    folder: str = ""
    before: Seconds = 5.0
    after: Seconds = 5.0
    longest: Seconds = 120.0
    keep: Seconds = 14 * 86400.0
    keep_gb: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    spare_gb: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    memory_mb: Annotated[float, Field(ge=1, le=4096)] = 32.0


class MqttConfig(Strict):
    """A broker, and what is said to it; see `stream.events.mqtt` for topics."""

    host: str
    port: int = Field(default=0, ge=0, le=65535, description="0: 1883, or 8883 with TLS")
    user: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = False
    ca: str = Field(default="", description="file of the broker's certificate authority; implies tls")
    version: Literal["5", "3.1.1"] = "5"
    prefix: Name = "slowfast"
    discovery: str = Field(default="homeassistant", description="Home Assistant's prefix; empty for none")
    client: str = ""

    @model_validator(mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("version"), int | float):
            return value | {"version": f"{value['version']:g}"}
        return value


class TellConfig(Strict):
    """Somebody who is told: by Apprise's services or by a webhook.

    Attributes:
        name: unique; names its spool.
        apprise: addresses in Apprise's form.
        webhook: an address that is posted JSON; `secret` signs it.
        rules, cameras: only these; all where empty.
        on: which changes.
        quiet: hours in which nothing is said; with `digest` it is said afterwards in one.
        at_most: so many in a time, such as `5 per 10m`; more become one digest.
        digest: so long after the first that is held back.
        pictures: send the snapshot along.
    """

    name: Name
    apprise: Annotated[list[SecretStr], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        default_factory=list
    )
    webhook: SecretStr = SecretStr("")
    secret: SecretStr = SecretStr("")
    rules: Names = Field(default_factory=list)
    cameras: Names = Field(default_factory=list)
    on: Annotated[list[ChangeKind], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        default_factory=_at_start
    )
    quiet: Hours = Field(default_factory=list)
    at_most: Annotated[tuple[int, float], BeforeValidator(_per)] | None = None
    digest: Seconds = 600.0
    pictures: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> TellConfig:
        if bool(self.apprise) == bool(self.webhook.get_secret_value()):
            raise Misplaced((), "expected either `apprise` or `webhook`")
        url = self.webhook.get_secret_value()
        if url and not url.startswith(("http://", "https://")):
            raise Misplaced(("webhook",), "got another address, expected one that begins with https:// or http://")
        return self


class Outputs(Strict):
    """Where events go; may stand beside rules (`EventsFile`) or in another program's file."""

    store: StoreConfig = StoreConfig()
    films: FilmConfig = FilmConfig()
    mqtt: MqttConfig | None = None
    tell: list[TellConfig] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_of_their_own(self) -> Outputs:
        names = [tell.name for tell in self.tell]
        for i, name in enumerate(names):
            if name in names[:i] or name == "mqtt":
                raise Misplaced(("tell", i, "name"), f"got {name!r}, which is taken, expected a name of its own")
        return self


class EventsFile(RuleSet, Outputs):
    """All of a file of events: zones, lines, rules, and where events go."""

    @model_validator(mode="after")
    def _rules_that_are_there(self) -> EventsFile:
        rules = {rule.name for rule in self.rules}
        for i, tell in enumerate(self.tell):
            for j, name in enumerate(tell.rules):
                if name not in rules:
                    raise Misplaced(("tell", i, "rules", j), f"got {name!r}, expected the name of a rule")
        return self


def load_events_file(path: str | Path) -> tuple[EventsFile, Lines]:
    """Read and check a file of events.

    Raises:
        UserError: one line with file and line number.
    """
    values, lines = read_yaml(path)
    return build(EventsFile, values, lines), lines
