"""Rules about how many people there are: nobody for a while, more than so many. Pure."""

from __future__ import annotations

from stream.events.cases import Case, Scene, Watcher
from stream.events.machines import Hold
from stream.events.records import EventChange
from stream.events.rules import CrowdRule, NobodyRule
from stream.events.zones import inside


class CountWatcher(Watcher):
    """People in each of a rule's zones, or in the picture; one event a zone."""

    rule: NobodyRule | CrowdRule

    def limit(self) -> float:
        return float(self.rule.more_than if isinstance(self.rule, CrowdRule) else self.rule.for_s)

    def step(self, scene: Scene) -> list[EventChange]:
        changes: list[EventChange] = []
        awake = self.awake(scene)
        people = [p for p in scene.people if self.wanted(scene, p)] if awake else []
        for zone in self.rule.zones or [""]:
            count = len(people)
            if zone:
                count = sum(inside(self.place.rules.zones[zone], p.foot) for p in people)
            changes += self._watch(scene, zone, count, awake)
        return changes

    def _watch(self, scene: Scene, zone: str, count: int, awake: bool) -> list[EventChange]:
        rule = self.rule
        ends_after_s = rule.ends_after if isinstance(rule, CrowdRule) else 0.0
        case = self.cases.setdefault(zone, Case(Hold(rule.for_s, ends_after_s), zone=zone))
        where = zone or "the picture"
        if isinstance(rule, CrowdRule):
            changes = self.advance(
                scene, case, awake and count > rule.more_than, not (awake and count > rule.more_than), float(count),
                what=f"people in {where}", limit=float(rule.more_than),
            )
            if case.hold.state == "idle":
                self.place.hindrances.note(
                    scene.time_s, rule.name, f"people in {where}", float(count), float(rule.more_than + 1)
                )
        else:
            begun_s = scene.time_s if case.hold.state == "idle" else case.hold.since_s
            changes = self.advance(
                scene, case, awake and not count, bool(count) or not awake, scene.time_s - begun_s,
                what=f"seconds without anybody in {where}", limit=rule.for_s,
            )
            if case.hold.state == "pending":
                self.place.hindrances.note(
                    scene.time_s, rule.name, f"seconds without anybody in {where}", scene.time_s - begun_s, rule.for_s
                )
        if case.hold.state != "idle" and scene.time_s == case.peak_s:
            case.people = count
        return changes
