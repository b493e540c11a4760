"""What a file of rules may say: pydantic models, without reading files (see `rule_file`) and without time."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from detector.errors import nearest_names

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NAME = re.compile(r"[^\s/+#$\x00-\x1f][^/+#\x00-\x1f]{0,63}")


class Misplaced(ValueError):
    """A mistake that only shows when parts are put together; `path` leads to the part that is wrong."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def seconds(value: Any) -> Any:
    """`90`, `90s`, `1.5m`, `2h`, `7d` in seconds.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|min|h|d)?\s*", value)
        try:
            return float(found[1]) * _UNITS[found[2] or "s"] if found else float("x")
        except ValueError:
            raise ValueError("expected a time such as 0.5s, 30s, 5m or 2h") from None
    if isinstance(value, bool):
        raise ValueError("expected a time such as 0.5s, 30s, 5m or 2h")
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _name(value: str) -> str:
    # Names become parts of MQTT topics and of paths.
    if not _NAME.fullmatch(value) or value in (".", ".."):
        raise ValueError("expected a name of 1 to 64 characters without / + # and a leading $")
    return value


def _hours(value: Any) -> Any:
    for span in value if isinstance(value, list) else []:
        found = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", str(span))
        if not found:
            raise ValueError("expected hours such as 22:00-06:00")
    return value


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=366 * 86400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names = Annotated[list[str], BeforeValidator(_as_list)]
Name = Annotated[str, AfterValidator(_name)]
Hours = Annotated[list[str], BeforeValidator(lambda v: _hours(_as_list(v)))]
Corner = tuple[Share, Share]
Polygon = Annotated[list[Corner], Field(min_length=3, max_length=64)]
Line = Annotated[list[Corner], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """A model that takes no keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def within_hours(spans: list[str], moment: datetime) -> bool:
    """Whether a local moment lies in one of `22:00-06:00`; with none given it does."""
    now = moment.hour * 60 + moment.minute
    for span in spans:
        begin, end = (int(t[:2]) * 60 + int(t[3:]) for t in span.split("-"))
        if (begin <= now < end) if begin <= end else (now >= begin or now < end):
            return True
    return not spans


class Rule(Strict):
    """What every rule may say."""

    name: Name
    cameras: Names = []
    zones: Names = Field(default=[], description="only where the foot point is in one of these")
    hours: Hours = Field(default=[], description="local time of day, such as 22:00-06:00")
    days: Annotated[list[Literal[DAYS]], BeforeValidator(_as_list)] = []  # type: ignore[valid-type]
    cooldown: Seconds = Field(default=0.0, description="no second start of the rule in the same zone for this long")
    min_height: Share = Field(default=0.0, description="of the person, share of the picture's height")
    max_height: Share = 1.0
    min_surety: Share = Field(default=0.0, description="that the box is a person")
    update_every: Seconds = 5.0

    def applies_to(self, camera: str) -> bool:
        """Whether the rule is about a camera."""
        return not self.cameras or camera in self.cameras

    def awake(self, utc: float | None, zone: tzinfo | None) -> bool:
        """Whether hours and days let it watch now; a recording without a clock is always watched."""
        if utc is None or not (self.hours or self.days):
            return True
        moment = datetime.fromtimestamp(utc, zone)
        return within_hours(self.hours, moment) and (not self.days or DAYS[moment.weekday()] in self.days)


class ActionRule(Rule):
    """Somebody does one of these actions: over `over` for `for`, until under `under` for `ends_after`."""

    kind: Literal["action"]
    action: Names = Field(min_length=1, max_length=20)
    over: Share | None = Field(default=None, description="None: 0.6, or what the model asks for where that is more")
    under: Share | None = Field(default=None, description="None: 0.7 of `over`")
    for_s: Seconds = Field(default=0.5, alias="for")
    ends_after: Seconds = 2.0
    lead: Share = Field(default=0.0, description="over the best other action of the same group")
    votes: Annotated[float, Field(gt=0, le=1)] = Field(default=0.6, description="share of answers that must be over")
    answers: int = Field(default=1, ge=1, le=100, description="so many answers at least must be over")
    sinks_to: Share = Field(default=1.0, description="box no taller than this share of before, its top down too")
    sinks_within: Seconds = 3.0
    wider: float = Field(default=0.0, ge=0, le=10, description="least width of the box over its height")
    even_if_unproven: bool = False

    @model_validator(mode="after")
    def _limits_in_order(self) -> ActionRule:
        if self.over is not None and self.under is not None and self.under > self.over:
            raise Misplaced(("under",), f"got {self.under:g}, expected at most `over`, {self.over:g}")
        return self


class StayRule(Rule):
    """Somebody is in a zone (or in the picture) longer than `for`: presence with seconds, loitering with minutes."""

    kind: Literal["stay"]
    for_s: Seconds = Field(alias="for")
    ends_after: Seconds = 2.0


class EnterRule(Rule):
    """Somebody comes into a zone."""

    kind: Literal["enter"]
    zones: Names = Field(min_length=1)
    settle: Seconds = Field(default=0.5, description="so long inside before it counts")
    appearing: bool = Field(default=False, description="whoever is first seen inside has come in too")


class LeaveRule(Rule):
    """Somebody goes out of a zone."""

    kind: Literal["leave"]
    zones: Names = Field(min_length=1)
    settle: Seconds = Field(default=0.5, description="so long outside before it counts")
    vanishing: bool = Field(default=False, description="whoever is last seen inside has gone out too")


class CrossRule(Rule):
    """Somebody walks over a line; `in` is to the right hand of who looks from its first point to its second."""

    kind: Literal["cross"]
    line: str
    direction: Literal["in", "out", "both"] = "both"
    margin: Share = Field(default=0.01, description="so far from the line, in heights of the picture, before it counts")


class NobodyRule(Rule):
    """Nobody was seen (in the zones) for `for`."""

    kind: Literal["nobody"]
    for_s: Seconds = Field(alias="for", gt=0)


class CrowdRule(Rule):
    """More than so many people are there (in the zones) for `for`."""

    kind: Literal["crowd"]
    more_than: int = Field(ge=0, le=10_000)
    for_s: Seconds = Field(default=2.0, alias="for")
    ends_after: Seconds = 2.0


AnyRule = Annotated[
    ActionRule | StayRule | EnterRule | LeaveRule | CrossRule | NobodyRule | CrowdRule, Field(discriminator="kind")
]


class RuleSet(Strict):
    """Zones, lines and the rules about them; a bare list is one of rules alone.

    Attributes:
        zones: name to three or more corners, in shares of the picture's width and height, y down.
        lines: name to two points.
        rules: names are unique.
        timezone: of `hours` and `days`: `Europe/Berlin`; the machine's own unless given.
        reach_s: somebody who comes back within this time and reach under another track id is the same person.
        gap_s: a pause between answers longer than this resets what was remembered.
    """

    zones: dict[Name, Polygon] = {}
    lines: dict[Name, Line] = {}
    rules: list[AnyRule] = []
    timezone: str = ""
    reach_s: Seconds = 2.0
    gap_s: Seconds = 15.0

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"rules": value} if isinstance(value, list) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("expected a time zone such as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> RuleSet:
        names: set[str] = set()
        for i, rule in enumerate(self.rules):
            if rule.name in names:
                raise Misplaced(("rules", i, "name"), f"got {rule.name!r} twice, expected a name of its own")
            names.add(rule.name)
            for j, zone in enumerate(rule.zones):
                _expect_known(zone, self.zones, ("rules", i, "zones", j), "zones")
            if isinstance(rule, CrossRule):
                _expect_known(rule.line, self.lines, ("rules", i, "line"), "lines")
        for name, line in self.lines.items():
            if line[0] == line[1]:
                raise Misplaced(("lines", name), "got the same point twice, expected two points")
        return self

    def tz(self) -> tzinfo | None:
        """The time zone of hours and days; None for the machine's own."""
        return ZoneInfo(self.timezone) if self.timezone else None

    def with_more(self, other: RuleSet) -> RuleSet:
        """These rules and another set's, which wins where names are the same."""
        names = {rule.name for rule in other.rules}
        rules = [rule for rule in self.rules if rule.name not in names] + other.rules
        return RuleSet(
            zones=self.zones | other.zones, lines=self.lines | other.lines, rules=rules,
            timezone=other.timezone or self.timezone, reach_s=other.reach_s, gap_s=other.gap_s,
        )


def _expect_known(name: str, known: dict[str, Any], path: tuple[str | int, ...], what: str) -> None:
    if name not in known:
        near = f"one of them ({nearest_names(name, known)})" if known else f"it under `{what}:`"
        raise Misplaced(path, f"got {name!r}, which is not one of the {what}; expected {near}")
