"""The rule about actions: over a limit for a while, ahead of other actions, ended under a lower limit. Pure."""

from __future__ import annotations

import numpy as np

from detector.labels import LabelMap
from stream.events.cases import Case, Place, Scene, Watcher
from stream.events.limits import UNDER_SHARE, default_over
from stream.events.machines import Highest, Hold
from stream.events.persons import Person
from stream.events.records import EventChange, Observation, Reason
from stream.events.rules import ActionRule
from stream.events.zones import height


class ActionWatcher(Watcher):
    """Somebody does one of a rule's actions; one event a person."""

    rule: ActionRule

    def __init__(self, rule: ActionRule, place: Place) -> None:
        super().__init__(rule, place)
        self._labels: LabelMap | None = None
        self._columns: list[int] = []
        self._over: dict[int, float] = {}
        self._unproven: set[str] = set()
        self._over_set: float | None = rule.over
        self._heights: dict[int, Highest] = {}
        self._tops: dict[int, Highest] = {}

    def limit(self) -> float:
        return min(self._over.values(), default=self.rule.over or 1.0)

    def set_threshold(self, over: float) -> bool:
        self._over_set = over
        self._over = dict.fromkeys(self._columns, over)
        return True

    def forget(self, person: int) -> None:
        super().forget(person)
        self._heights.pop(person, None)
        self._tops.pop(person, None)

    def step(self, scene: Scene) -> list[EventChange]:
        if scene.seen.labels is not self._labels:
            self._bind(scene.seen)
        changes: list[EventChange] = []
        awake, here = self.awake(scene), set()
        for person in scene.people:
            here.add(person.number)
            changes += self._watch(scene, person, awake)
        for case in self.cases.values():
            if case.person not in here:
                changes += self.follow(scene, case, case.hold.absent(scene.time_s, case.last_s))
        return changes

    def _bind(self, seen: Observation) -> None:
        """Find the rule's actions among a model's labels; leave out what it is not shown to know."""
        self._labels, rule = seen.labels, self.rule
        columns = [seen.labels.find(name) for name in rule.action]
        names = {j: seen.labels[j].name for j in columns}
        unproven = {j for j in columns if seen.proven is not None and names[j] not in seen.proven}
        self._unproven = {names[j] for j in unproven}
        self._columns = columns if rule.even_if_unproven else [j for j in columns if j not in unproven]
        own = {j: default_over(None if seen.limits is None else seen.limits[j]) for j in self._columns}
        self._over = {j: own[j] if self._over_set is None else self._over_set for j in self._columns}
        if unproven and not rule.even_if_unproven:
            said = ", ".join(sorted(self._unproven))
            self.notices.append(
                f"rule {rule.name}: {seen.model} is not shown to know {said} on real video, so it makes no event; "
                "to have it all the same write `even_if_unproven: true`"
            )

    def _watch(self, scene: Scene, person: Person, awake: bool) -> list[EventChange]:
        rule = self.rule
        tallest = self._heights.setdefault(person.number, Highest(rule.sinks_within)).add(
            scene.time_s, height(person.box)
        )
        highest = -self._tops.setdefault(person.number, Highest(rule.sinks_within)).add(scene.time_s, -person.box[1])
        scores = scene.seen.scores[person.row]
        if not self._columns:
            return []
        if np.isnan(scores[self._columns]).any():
            case = self.cases.get(person.number)
            return [] if case is None else self.follow(scene, case, case.hold.absent(scene.time_s, case.last_s))
        best = max(self._columns, key=lambda j: scores[j] - self._over[j])
        score, over = float(scores[best]), self._over[best]
        name = scene.seen.labels[best].name
        case = self.cases.get(person.number)
        if case is None:
            hold = Hold(rule.for_s, rule.ends_after, rule.votes, rule.answers)
            case = self.cases[person.number] = Case(hold, person.number)
        case.last_s = scene.time_s
        zone = self.zone_of(person)
        reasons = self._fits(scene, person, best, (tallest, highest), zone)
        on = score >= over and awake and reasons is not None
        if score < over:
            self.place.hindrances.note(scene.time_s, rule.name, f"score of {name}", score, over, person.number)
        under = rule.under if rule.under is not None and rule.over == over else UNDER_SHARE * over
        going = case.hold.state == "active"
        off = score < under or not awake or (zone is None if going else not on)
        if not going:
            case.zone = zone or ""
        case.unproven = name in self._unproven
        begins = on and case.hold.state != "active"
        changes = self.advance(
            scene, case, on, off, score, person, f"score of {name}", over, under, name,
            more=reasons if begins and reasons else (),
        )
        if case.hold.state == "pending" and on:
            self.place.hindrances.note(
                scene.time_s, rule.name, f"seconds of {name}", scene.time_s - case.hold.since_s,
                max(rule.for_s, 1e-3), person.number,
            )
        return changes

    def _fits(
        self, scene: Scene, person: Person, best: int, before: tuple[float, float], zone: str | None
    ) -> list[Reason] | None:
        """Every filter but the score: why they let the person through, or None, and says why not."""
        rule, seen, note = self.rule, scene.seen, self.place.hindrances.note
        reasons: list[Reason] = []
        if zone is None:
            note(scene.time_s, rule.name, "in a zone", 0.0, 1.0, person.number)
            return None
        if not self.wanted(scene, person):
            return None
        x1, y1, x2, y2 = person.box
        tests: list[tuple[str, float, float, bool]] = []
        if rule.lead > 0:
            lead, other = _lead(seen.scores[person.row], best, self._columns, seen.labels)
            tests.append((f"lead over {other}", lead, rule.lead, True))
        if rule.sinks_to < 1:
            tallest, highest = max(before[0], 1e-6), before[1]
            tests.append(("height of the box over what it was", (y2 - y1) / tallest, rule.sinks_to, False))
            # A box whose feet are hidden behind somebody gets lower too; whoever falls lowers his head.
            tests.append(("fall of the box's top over its height", (y1 - highest) / tallest,
                          round((1 - rule.sinks_to) / 2, 4), True))
        if rule.wider > 0:
            tests.append(("width over height", (x2 - x1) * seen.aspect / max(y2 - y1, 1e-6), rule.wider, True))
        for what, value, limit, least in tests:
            if (value < limit) if least else (value > limit):
                note(scene.time_s, rule.name, what, max(value, 0.0), limit, person.number, least=least)
                return None
            reasons.append(Reason(scene.time_s, what, round(value, 4), limit, "over" if least else "under"))
        return reasons


def _lead(scores: np.ndarray, best: int, columns: list[int], labels: LabelMap) -> tuple[float, str]:
    """How far an action is ahead of the best other one of its group, and which that is."""
    others = [
        j for j, action in enumerate(labels) if j not in columns and action.group == labels[best].group
    ]
    if not others:
        return 1.0, ""
    other = max(others, key=lambda j: scores[j])
    return float(scores[best] - scores[other]), labels[other].short_name
