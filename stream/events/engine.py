"""All rules of one camera: answers in, changes of events out. Pure; no threads, no clock.

::

    engine = RuleEngine("door", rules)
    for result in results:                       # key frames, in order
        for change in engine.step(observation_of(result)):
            keep(change)
    for change in engine.finish(): keep(change)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from detector.labels import LabelMap
from stream.events.action_rule import ActionWatcher
from stream.events.cases import Place, RuleState, Scene, Watcher
from stream.events.persons import Persons
from stream.events.place_rules import CrossWatcher, PassageWatcher, StayWatcher
from stream.events.records import Event, EventChange, Observation
from stream.events.rules import (
    ActionRule,
    AnyRule,
    CrossRule,
    EnterRule,
    LeaveRule,
    RuleSet,
    StayRule,
)
from stream.events.scene_rules import CountWatcher
from stream.events.why import Hindrance, Hindrances


def new_event_id(utc: float | None) -> str:
    """An id that nobody else makes, in order of time: milliseconds since 1970 and 48 random bits, in hex."""
    return f"{int((time.time() if utc is None else utc) * 1000):012x}-{secrets.token_hex(6)}"


class RuleEngine:
    """The rules of one camera at work.

    Attributes:
        camera: its name.
        rules: what it was made of.
    """

    def __init__(
        self, camera: str, rules: RuleSet, *, source: str = "",
        new_id: Callable[[float | None], str] = new_event_id,
    ) -> None:
        """
        Args:
            camera: its name; rules of other cameras are left out.
            rules: checked, see `rule_file.load_rules`.
            source: what is watched, without credentials.
            new_id: makes the id of an event that began at a UTC second (None for files).
        """
        self.camera, self.rules, self.new_id = camera, rules, new_id
        self._hindrances = Hindrances()
        self._place = place = Place(camera, source, rules, self._hindrances, new_id)
        self._watchers = [_watcher(rule, place) for rule in rules.rules if rule.applies_to(camera)]
        self._persons = Persons(rules.reach_s)
        self._last: Observation | None = None
        self._active: dict[str, Event] = {}
        self.people = 0

    @property
    def source(self) -> str:
        """What is watched, without credentials; told with each event."""
        return self._place.source

    @source.setter
    def source(self, name: str) -> None:
        self._place.source = name

    def step(self, seen: Observation) -> list[EventChange]:
        """Take the next observation; gives what changed, in order.

        A pause longer than `rules.gap_s`, or a time that goes back, ends what goes on and forgets what was seen.

        Raises:
            UserError: a rule names an action that the model does not have.
        """
        changes: list[EventChange] = []
        if self._last is not None and not 0 <= seen.time_s - self._last.time_s <= self.rules.gap_s:
            changes += self.finish("gap")
        scene = Scene(seen, self._persons.step(seen))
        self.people, self._last = len(seen.people), seen
        for watcher in self._watchers:
            changes += watcher.step(scene)
        changes += self._forget(scene)
        return self._remember(changes)

    def finish(self, because: str = "end of stream") -> list[EventChange]:
        """End all that goes on, at the last observation's time, and forget what was seen."""
        if self._last is None:
            return []
        changes = []
        for watcher in self._watchers:
            changes += watcher.finish(self._last.time_s, self._last.utc, because)
        self._persons = Persons(self.rules.reach_s)
        self._last = None
        self.people = 0
        return self._remember(changes)

    def active(self) -> list[Event]:
        """Events that go on, oldest first."""
        return list(self._active.values())

    def states(self) -> list[RuleState]:
        """Where each rule stands with everybody it watches."""
        return [state for watcher in self._watchers for state in watcher.states()]

    def notices(self) -> list[str]:
        """Lines that a person should read once; each is given once."""
        lines = [line for watcher in self._watchers for line in watcher.notices]
        for watcher in self._watchers:
            watcher.notices.clear()
        return lines

    def why_not(self, rule: str | None = None) -> list[Hindrance]:
        """What kept a rule, or all rules, from telling anything in the last minute."""
        return self._hindrances.told(rule)

    def counts(self) -> dict[str, dict[str, int]]:
        """Running counts of the rules that count, by rule and direction or zone."""
        return {
            w.rule.name: dict(w.counts) for w in self._watchers if isinstance(w, CrossWatcher | PassageWatcher)
        }

    def set_threshold(self, rule: str, over: float) -> bool:
        """Change a rule's limit while it runs; False where there is no such rule, or it has no limit."""
        named = [w for w in self._watchers if w.rule.name == rule]
        return bool(named) and all(w.set_threshold(over) for w in named)

    def thresholds(self) -> dict[str, float]:
        """The limit of each rule about actions."""
        return {w.rule.name: w.limit() for w in self._watchers if isinstance(w, ActionWatcher)}

    def _forget(self, scene: Scene) -> list[EventChange]:
        changes: list[EventChange] = []
        keep = {
            case.person for watcher in self._watchers for case in watcher.cases.values()
            if case.event is not None or (isinstance(watcher, StayWatcher) and case.hold.state != "idle")
        }
        known = dict(self._persons.known)
        for number in self._persons.forget(scene.time_s, keep):
            for watcher in self._watchers:
                if isinstance(watcher, PassageWatcher):
                    changes += watcher.vanished(scene, known[number])
                watcher.forget(number)
        return changes

    def _remember(self, changes: list[EventChange]) -> list[EventChange]:
        for change in changes:
            if change.kind == "end":
                self._active.pop(change.event.id, None)
            else:
                self._active[change.event.id] = change.event
        return changes


def check_actions(rules: RuleSet, labels: LabelMap) -> list[tuple[tuple[str | int, ...], str]]:
    """Actions of rules that a model does not have: where in the set, and what is wrong with it."""
    from detector.errors import UserError

    wrong: list[tuple[tuple[str | int, ...], str]] = []
    for i, rule in enumerate(rules.rules):
        for j, name in enumerate(rule.action if isinstance(rule, ActionRule) else []):
            try:
                labels.find(name)
            except UserError as error:
                wrong.append((("rules", i, "action", j), str(error)))
    return wrong


def _watcher(rule: AnyRule, place: Place) -> Watcher:
    if isinstance(rule, ActionRule):
        return ActionWatcher(rule, place)
    if isinstance(rule, StayRule):
        return StayWatcher(rule, place)
    if isinstance(rule, EnterRule | LeaveRule):
        return PassageWatcher(rule, place)
    if isinstance(rule, CrossRule):
        return CrossWatcher(rule, place)
    return CountWatcher(rule, place)
