"""What all kinds of rules have in common: an event that is being watched, from its first sign to its end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stream.events.machines import Hold, Mean
from stream.events.persons import Person
from stream.events.records import Box, Event, EventChange, Observation, Reason
from stream.events.rules import Rule, RuleSet
from stream.events.why import Hindrances
from stream.events.zones import height, inside

# A reason is kept for every limit that was crossed; of a long event the first ones and the last ones tell most.
REASONS_KEPT = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """One observation, with its people as rules know them."""

    seen: Observation
    people: Sequence[Person]

    @property
    def time_s(self) -> float:
        """Media time."""
        return self.seen.time_s

    def utc_at(self, time_s: float) -> float | None:
        """UTC of a moment near this one."""
        return None if self.seen.utc is None else self.seen.utc - (self.seen.time_s - time_s)


@dataclass(slots=True)
class Place:
    """What the rules of a camera share.

    Attributes:
        camera, source: its name; what is watched, without credentials.
        rules: all of them, for zones and lines.
        hindrances: where a rule says why it told nothing.
        new_id: makes the id of an event that began at a UTC second (None for files).
    """

    camera: str
    source: str
    rules: RuleSet
    hindrances: Hindrances
    new_id: Callable[[float | None], str]


@dataclass(frozen=True, slots=True)
class RuleState:
    """Where a rule stands, for an overlay and a timeline.

    Attributes:
        rule, kind: the rule.
        person: number, -1 where it is about none.
        zone: "" for the whole picture.
        state: `idle`, `pending` or `active`.
        value, limit: what it watches, and what that must reach.
    """

    rule: str
    kind: str
    person: int
    zone: str
    state: str
    value: float
    limit: float


@dataclass(slots=True)
class Case:
    """Something that may become an event, and the event once it is one."""

    hold: Hold
    person: int = -1
    zone: str = ""
    event: Event | None = None
    values: Mean = field(default_factory=Mean)
    peak_s: float = 0.0
    box: Box | None = None
    action: str = ""
    unproven: bool = False
    people: int = 0
    track: int = -1
    value: float = 0.0
    next_update_s: float = 0.0
    last_s: float = 0.0
    reasons: list[Reason] = field(default_factory=list)

    def clear(self) -> None:
        """Back to nothing."""
        self.event, self.values, self.reasons, self.box, self.action = None, Mean(), [], None, ""

    def because(self, time_s: float, what: str, value: float, limit: float, crossed: str) -> None:
        """Keep a reason."""
        self.reasons.append(Reason(time_s, what, round(value, 4), limit, crossed))
        if len(self.reasons) > REASONS_KEPT:
            del self.reasons[REASONS_KEPT // 2]


class Watcher:
    """A rule at work on one camera. A kind of rule says in `step` what its cases are."""

    def __init__(self, rule: Rule, place: Place) -> None:
        self.rule, self.place = rule, place
        self.cases: dict[Hashable, Case] = {}
        self.notices: list[str] = []
        self._rested_from_s: dict[str, float] = {}

    @property
    def kind(self) -> str:
        """`action`, `stay`, ..."""
        return self.rule.kind  # type: ignore[attr-defined, no-any-return]

    def step(self, scene: Scene) -> list[EventChange]:
        """Take a scene; gives what changed."""
        raise NotImplementedError

    def finish(self, time_s: float, utc: float | None, because: str) -> list[EventChange]:
        """End what goes on and forget everything."""
        changes = []
        for case in self.cases.values():
            if case.event is not None:
                changes.append(self._ended(case, time_s, utc, because))
        self.cases.clear()
        return changes

    def forget(self, person: int) -> None:
        """Somebody is gone for good."""
        for key in [k for k, c in self.cases.items() if c.person == person and c.event is None]:
            del self.cases[key]

    def states(self) -> list[RuleState]:
        """Where the rule stands with everybody it watches."""
        limit = self.limit()
        return [
            RuleState(self.rule.name, self.kind, c.person, c.zone, c.hold.state, c.value, limit)
            for c in self.cases.values()
        ]

    def limit(self) -> float:
        """What the watched value must reach."""
        return 1.0

    def set_threshold(self, over: float) -> bool:
        """Change the limit while running; False where the rule has none."""
        return False

    # ---- for the kinds -----------------------------------------------------------------------------------------

    def wanted(self, scene: Scene, person: Person) -> bool:
        """Whether size and surety of a person fit; says why not."""
        rule, tall = self.rule, height(person.box)
        note = self.place.hindrances.note
        if tall < rule.min_height:
            note(scene.time_s, rule.name, "height", tall, rule.min_height, person.number)
        elif tall > rule.max_height:
            note(scene.time_s, rule.name, "height", tall, rule.max_height, person.number, least=False)
        elif person.surety < rule.min_surety:
            note(scene.time_s, rule.name, "surety", person.surety, rule.min_surety, person.number)
        else:
            return True
        return False

    def awake(self, scene: Scene) -> bool:
        """Whether hours and days fit; says why not."""
        if self.rule.awake(scene.seen.utc, self.place.rules.tz()):
            return True
        self.place.hindrances.note(scene.time_s, self.rule.name, "hours", 0.0, 1.0)
        return False

    def zone_of(self, person: Person) -> str | None:
        """The first of the rule's zones that a person stands in; "" where the rule has none, None outside all."""
        for name in self.rule.zones:
            if inside(self.place.rules.zones[name], person.foot):
                return name
        return None if self.rule.zones else ""

    def advance(
        self, scene: Scene, case: Case, on: bool, off: bool, value: float, person: Person | None = None,
        what: str = "", limit: float = 1.0, end_limit: float | None = None, action: str = "",
        more: Sequence[Reason] = (),
    ) -> list[EventChange]:
        """Step a case's hold and turn what happens into changes of its event.

        Args:
            scene: now.
            case: of the rule.
            on, off: for the hold.
            value: that is watched; its peak and mean are told.
            person: whom it is about.
            what: the value's name in reasons.
            limit, end_limit: that it must reach to begin and fall under to end.
            action: that the value speaks of.
            more: reasons to keep beside the value's when it is first met.
        """
        before, was_off = case.hold.state, case.hold.off_since_s
        moved = case.hold.step(scene.time_s, on, off)
        case.value = value
        if case.hold.state == "idle" and moved != "end":
            case.clear()
            return []
        if before == "idle" or (case.hold.since_s == scene.time_s and moved != "end"):
            case.clear()
            case.because(scene.time_s, what, value, limit, "over")
            case.reasons.extend(more)
        if case.hold.state != "idle" and not off:
            self._take(scene, case, value, person, action)
        if moved == "start" and case.hold.for_s > 0:
            case.because(scene.time_s, "seconds", scene.time_s - case.hold.since_s, case.hold.for_s, "over")
        if off and was_off is None and before == "active":
            case.because(scene.time_s, what, value, limit if end_limit is None else end_limit, "under")
        return self.follow(scene, case, moved)

    def follow(self, scene: Scene, case: Case, moved: str) -> list[EventChange]:
        """The changes that come of a case whose hold `moved`."""
        if moved == "start":
            begun = self.begin(scene, case)
            return [begun] if begun else []
        if case.event is None:
            if moved == "end":
                case.clear()
            return []
        if moved == "end":
            end_s = case.hold.off_since_s if case.hold.off_since_s is not None else scene.time_s
            away = case.person >= 0 and all(p.number != case.person for p in scene.people)
            because = "left" if away else "over"
            return [self._ended(case, end_s, scene.utc_at(end_s), because)]
        if scene.time_s >= case.next_update_s:
            before, case.event = case.event, self._now(scene, case, case.event)
            case.next_update_s = scene.time_s + self.rule.update_every
            return [EventChange("update", case.event, before)]
        return []

    def begin(self, scene: Scene, case: Case, **more: Any) -> EventChange | None:
        """Start an event, unless the rule rests in that zone."""
        rule, rested_s = self.rule, self._rested_from_s.get(case.zone)
        if rested_s is not None and scene.time_s - rested_s < rule.cooldown:
            self.place.hindrances.note(
                scene.time_s, rule.name, "seconds since the last one", scene.time_s - rested_s, rule.cooldown,
                case.person,
            )
            return None
        self._rested_from_s[case.zone] = scene.time_s
        start_s = case.hold.since_s
        event = Event(
            self.place.new_id(scene.utc_at(start_s)), self.place.camera, rule.name, self.kind, start_s, scene.time_s,
            case.zone, case.person, start_utc=scene.utc_at(start_s), told_utc=scene.seen.utc,
            unproven=case.unproven, model=scene.seen.model, source=self.place.source, **more,
        )
        case.event = self._now(scene, case, event)
        case.next_update_s = scene.time_s + rule.update_every
        return EventChange("start", case.event)

    def at_once(self, scene: Scene, case: Case, person: Person, value: float, **more: Any) -> list[EventChange]:
        """An event without duration: start and end together."""
        self._take(scene, case, value, person)
        begun = self.begin(scene, case, **more)
        if begun is None:
            case.clear()
            return []
        return [begun, self._ended(case, scene.time_s, scene.seen.utc, "over")]

    def _take(self, scene: Scene, case: Case, value: float, person: Person | None, action: str = "") -> None:
        if person is not None:
            case.track = person.track
        if case.values.add(value):
            case.action = action
            case.peak_s, case.people = scene.time_s, len(scene.people)
            x = None if person is None else person.box
            case.box = None if x is None else (round(x[0], 4), round(x[1], 4), round(x[2], 4), round(x[3], 4))

    def _now(self, scene: Scene | None, case: Case, event: Event) -> Event:
        peak_utc = event.peak_utc if scene is None else scene.utc_at(case.peak_s)
        return replace(
            event, peak_score=round(case.values.peak, 4) if case.values.count else 0.0, peak_s=case.peak_s,
            peak_utc=peak_utc, mean_score=round(case.values.mean, 4), answers=case.values.count,
            box=case.box, why=tuple(case.reasons), action=case.action or event.action, track=case.track,
            people=case.people, unproven=event.unproven or case.unproven,
        )

    def _ended(self, case: Case, end_s: float, end_utc: float | None, because: str) -> EventChange:
        before = case.event
        assert before is not None
        end_s = max(end_s, before.start_s)
        event = replace(self._now(None, case, before), end_s=end_s, end_utc=end_utc, ended_because=because)
        if event.peak_utc is None or before.peak_s != event.peak_s:
            event = replace(event, peak_utc=None if end_utc is None else end_utc - (end_s - event.peak_s))
        case.clear()
        return EventChange("end", event, before)
