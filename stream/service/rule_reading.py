"""Rules and where events go, as they stand in the cameras' file: `stream.events`' models, mistakes as everywhere."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, field_validator

from detector.errors import UserError
from detector.labels import LabelMap
from stream.events.config import Outputs
from stream.events.engine import check_actions
from stream.events.rule_file import Lines, build
from stream.events.rules import RuleSet
from stream.service.mistakes import Key, Where
from stream.service.settings import Camera, File

M = TypeVar("M", bound=BaseModel)


class Events(Outputs):
    """The key `events`: where they are kept and told, and the time zone of hours and days."""

    timezone: str = ""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        RuleSet(timezone=value)
        return value


class _Lines(Lines):
    """A part of the cameras' file as `stream.events` wants it."""

    def __init__(self, where: Where, at: Key) -> None:
        super().__init__(where.file)
        self._where, self._at = where, at
        everywhere = where.lines | {key: where.lines[stands] for key, stands in where.borrowed.items()}
        self.of = {(): 1} | {key[len(at):]: line for key, line in everywhere.items() if key[: len(at)] == at}

    def hides(self, path: tuple[str | int, ...]) -> bool:
        return super().hides(path) or self._where.is_secret((*self._at, *path))

    def error(self, path: tuple[str | int, ...], message: str) -> UserError:
        return UserError(f"{self._where.of((*self._at, *path))}: {message}")


def rules_of(name: str, camera: Camera, timezone: str, where: Where) -> RuleSet:
    """A camera's rules.

    Raises:
        UserError: the first mistake in them.
    """
    given: dict[str, Any] = {"zones": camera.zones, "lines": camera.lines, "rules": camera.rules}
    return _built(RuleSet, given | {"timezone": timezone}, where, ("cameras", name))


def events_of(file: File, where: Where) -> Events | None:
    """Where events go; None where the file does not say and no camera has a rule.

    Raises:
        UserError: the first mistake.
    """
    if file.events is None:
        return Events() if any(camera.rules for camera in file.cameras.values()) else None
    return _built(Events, file.events, where, ("events",))


def all_rules(file: File, where: Where) -> tuple[Events | None, dict[str, RuleSet], list[str]]:
    """Where events go, the rules of each camera, and the mistakes, a line each."""
    mistakes: list[str] = []
    events: Events | None = None
    rules: dict[str, RuleSet] = {}
    try:
        events = events_of(file, where)
    except UserError as error:
        mistakes.append(str(error))
    for name, camera in file.cameras.items():
        try:
            rules[name] = rules_of(name, camera, events.timezone if events else "", where)
        except UserError as error:
            mistakes.append(str(error))
    if events is not None and not mistakes:
        mistakes = _strangers(events, rules, where)
    return events, rules, mistakes


def unknown_actions(name: str, rules: RuleSet, labels: LabelMap, where: Where) -> list[str]:
    """A line for each action of a camera's rules that its model does not have."""
    return [f"{where.of(('cameras', name, *path))}: {message}" for path, message in check_actions(rules, labels)]


def secrets_of(events: Events | None) -> list[str]:
    """What must not be logged of where events go."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, SecretStr):
            found.append(value.get_secret_value())
        elif isinstance(value, BaseModel):
            walk(list(vars(value).values()))
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(events)
    return [secret for secret in found if secret]


def _built(model: type[M], given: Any, where: Where, at: Key) -> M:
    return build(model, given, _Lines(where, at))


def _strangers(events: Events, rules: dict[str, RuleSet], where: Where) -> list[str]:
    """Rules and cameras that are to be told of and that there are not."""
    known = {"rules": {rule.name for one in rules.values() for rule in one.rules}, "cameras": set(rules)}
    lines = []
    for i, tell in enumerate(events.tell):
        for key, names in (("rules", tell.rules), ("cameras", tell.cameras)):
            lines += [
                f"{where.of(('events', 'tell', i, key, j))}: got {name!r}, expected the name of a {key[:-1]}"
                for j, name in enumerate(names) if name not in known[key]
            ]
    return lines
