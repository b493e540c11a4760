"""Rules about where people are: staying, coming in, going out, crossing a line. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from stream.events.cases import Case, Place, Scene, Watcher
from stream.events.machines import Crossing, Hold, Passage
from stream.events.persons import Person
from stream.events.records import EventChange
from stream.events.rules import CrossRule, EnterRule, LeaveRule, StayRule
from stream.events.zones import inside


class StayWatcher(Watcher):
    """Somebody is in a zone, or in the picture, for longer than a while; one event a person and zone."""

    rule: StayRule

    def limit(self) -> float:
        return self.rule.for_s

    def step(self, scene: Scene) -> list[EventChange]:
        changes: list[EventChange] = []
        awake, here = self.awake(scene), set()
        for person in scene.people:
            here.add(person.number)
            wanted = awake and self.wanted(scene, person)
            for zone in self.rule.zones or [""]:
                within = not zone or inside(self.place.rules.zones[zone], person.foot)
                changes += self._watch(scene, person, zone, wanted and within)
        for case in self.cases.values():
            if case.person not in here:
                changes += self.follow(scene, case, case.hold.absent(scene.time_s, case.last_s))
        return changes

    def _watch(self, scene: Scene, person: Person, zone: str, within: bool) -> list[EventChange]:
        case = self.cases.get((person.number, zone))
        if case is None:
            if not within:
                return []
            # A foot that dithers on the border, or a box that is lost for a moment, does not begin the wait again.
            case = Case(_Stay(self.rule.for_s, self.rule.ends_after), person.number, zone)
            self.cases[person.number, zone] = case
        case.last_s = scene.time_s
        # The value is the time from its first sign, which the hold knows only after its step.
        begun_s = scene.time_s if case.hold.state == "idle" else case.hold.since_s
        stayed_s = scene.time_s - begun_s
        changes = self.advance(
            scene, case, within, not within, stayed_s, person, f"seconds in {zone or 'the picture'}", self.rule.for_s
        )
        if case.hold.state == "pending":
            self.place.hindrances.note(
                scene.time_s, self.rule.name, f"seconds in {zone or 'the picture'}", stayed_s, self.rule.for_s,
                person.number,
            )
        return changes


class _Stay(Hold):
    """A hold that forgives, while pending, an absence as short as those that do not end it while active."""

    def step(self, time_s: float, on: bool, off: bool | None = None) -> Literal["", "start", "end"]:
        if self.state == "pending":
            if on:
                self.off_since_s = None
            else:
                self.off_since_s = time_s if self.off_since_s is None else self.off_since_s
                if time_s - self.off_since_s >= self.ends_after_s:
                    self.state, self.off_since_s = "idle", None
                return ""
        return super().step(time_s, on, off)


class PassageWatcher(Watcher):
    """Somebody comes into one of the zones (`enter`), or goes out of one (`leave`); both are counted."""

    rule: EnterRule | LeaveRule

    def __init__(self, rule: EnterRule | LeaveRule, place: Place) -> None:
        super().__init__(rule, place)
        self._passages: dict[tuple[int, str], Passage] = {}
        self.counts: Counter[str] = Counter()

    def step(self, scene: Scene) -> list[EventChange]:
        changes: list[EventChange] = []
        awake = self.awake(scene)
        for person in scene.people:
            wanted = awake and self.wanted(scene, person)
            for zone in self.rule.zones:
                passage = self._passages.setdefault((person.number, zone), Passage(self.rule.settle))
                moved = passage.step(scene.time_s, inside(self.place.rules.zones[zone], person.foot))
                entering = isinstance(self.rule, EnterRule)
                told = moved == ("in" if entering else "out")
                if moved == "seen" and isinstance(self.rule, EnterRule) and self.rule.appearing:
                    told = bool(passage.inside)
                if told and wanted:
                    changes += self._tell(scene, person, zone, passage.since_s)
        return changes

    def vanished(self, scene: Scene, person: Person) -> list[EventChange]:
        """Somebody is gone for good: with `vanishing`, he went out where he was seen last."""
        if not (isinstance(self.rule, LeaveRule) and self.rule.vanishing and self.awake(scene)):
            return []
        changes: list[EventChange] = []
        for zone in self.rule.zones:
            passage = self._passages.get((person.number, zone))
            if passage is not None and passage.inside and self.wanted(scene, person):
                changes += self._tell(scene, person, zone, person.last_s)
        return changes

    def forget(self, person: int) -> None:
        super().forget(person)
        for zone in self.rule.zones:
            self._passages.pop((person, zone), None)

    def finish(self, time_s: float, utc: float | None, because: str) -> list[EventChange]:
        self._passages.clear()
        return super().finish(time_s, utc, because)

    def _tell(self, scene: Scene, person: Person, zone: str, since_s: float) -> list[EventChange]:
        way = "in" if isinstance(self.rule, EnterRule) else "out"
        case = Case(Hold(since_s=since_s), person.number, zone)
        case.because(scene.time_s, f"seconds {'inside' if way == 'in' else 'outside'} {zone}",
                     scene.time_s - since_s, self.rule.settle, "over")
        self.counts[zone] += 1
        return self.at_once(
            scene, case, person, person.surety, direction=way, counts=tuple(sorted(self.counts.items()))
        )


class CrossWatcher(Watcher):
    """Somebody walks over a line; both directions are counted, the wanted ones are told."""

    rule: CrossRule

    def __init__(self, rule: CrossRule, place: Place) -> None:
        super().__init__(rule, place)
        self._crossings: dict[int, Crossing] = {}
        self.counts: Counter[str] = Counter({"in": 0, "out": 0})

    def step(self, scene: Scene) -> list[EventChange]:
        rule, changes = self.rule, []
        awake = self.awake(scene)
        for person in scene.people:
            crossing = self._crossings.get(person.number)
            if crossing is None:
                line = self.place.rules.lines[rule.line]
                crossing = self._crossings[person.number] = Crossing(line, scene.seen.aspect, rule.margin)
            way = crossing.step(person.foot)
            if not way or not awake or not self.wanted(scene, person):
                continue
            self.counts[way] += 1
            if rule.direction not in ("both", way):
                self.place.hindrances.note(scene.time_s, rule.name, f"went {way}", 0.0, 1.0, person.number)
                continue
            case = Case(Hold(since_s=scene.time_s), person.number, rule.line)
            case.because(scene.time_s, f"went {way} over {rule.line}, heights of the picture past it",
                         crossing.distance, rule.margin, "over")
            changes += self.at_once(
                scene, case, person, person.surety, direction=way, counts=tuple(sorted(self.counts.items()))
            )
        return changes

    def forget(self, person: int) -> None:
        super().forget(person)
        self._crossings.pop(person, None)

    def finish(self, time_s: float, utc: float | None, because: str) -> list[EventChange]:
        self._crossings.clear()
        return super().finish(time_s, utc, because)
