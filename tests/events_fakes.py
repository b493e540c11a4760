"""Scenes for rules: people given by numbers, answers given by words."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from detector.labels import Action, LabelMap
from detector.types import Boxes
from stream.events.engine import RuleEngine
from stream.events.records import Event, EventChange, Observation
from stream.events.rule_file import build, parse_yaml
from stream.events.rules import RuleSet

LABELS = LabelMap("test", (
    Action(5, "fall down", "pose"), Action(8, "lie/sleep", "pose"), Action(12, "stand", "pose"),
    Action(14, "walk", "pose"), Action(17, "carry/hold (an object)", "object"),
))
HALL = "zones: {hall: [[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]]}\n"
GATE = "lines: {gate: [[0.5, 1], [0.5, 0]]}\n"


def rule_set(text: str) -> RuleSet:
    """The rules of a YAML text."""
    values, lines = parse_yaml(text, "rules.yaml")
    return build(RuleSet, values, lines)


def a_rule(kind: str, head: str = "", **values: Any) -> RuleSet:
    """One rule called r."""
    body = "".join(f"\n    {key.removesuffix('_')}: {value}" for key, value in values.items())
    return rule_set(f"{head}rules:\n  - name: r\n    kind: {kind}{body}\n")


def engine_of(rules: RuleSet, camera: str = "door", **more: Any) -> RuleEngine:
    """An engine whose events are called e1, e2, ..."""
    numbers = itertools.count(1)
    return RuleEngine(camera, rules, new_id=lambda utc: f"e{next(numbers)}", **more)


def person(x: float = 0.25, y: float = 0.8, track: int = 1, h: float = 0.4, w: float = 0.1, **scores: float) -> dict:
    """Somebody with his feet at (x, y); keywords are scores by the first word of the action."""
    return {"box": (x - w / 2, y - h, x + w / 2, y), "track": track, "scores": scores}


def observe(
    time_s: float, *people: dict, utc: float | None = None, proven: tuple[str, ...] | None = None,
    untrained: bool = False, aspect: float = 1.0,
) -> Observation:
    """An observation of people; a person without scores has no answer where `scores` is None."""
    rows = np.zeros((len(people), len(LABELS)), np.float32)
    for row, somebody in zip(rows, people):
        if somebody["scores"] is None:
            row[:] = np.nan
            continue
        for j, action in enumerate(LABELS):
            row[j] = somebody["scores"].get(action.name.split()[0].split("/")[0], 0.0)
    boxes = Boxes(
        np.array([p["box"] for p in people], np.float32), np.full(len(people), 0.9), [p["track"] for p in people]
    )
    return Observation(time_s, boxes, rows, LABELS, utc, aspect, "tiny", proven, untrained)


def run(engine: RuleEngine, *seen: Observation, finish: bool = False) -> list[EventChange]:
    """All changes of some observations."""
    changes = [change for observation in seen for change in engine.step(observation)]
    return changes + (engine.finish() if finish else [])


def scored(engine: RuleEngine, scores: str, every_s: float = 1.0, first_s: float = 0.0, **where: Any):
    """Changes of one person whose score of falling is each digit / 10 in turn; `-` is nobody, `?` no answer."""
    seen = []
    for i, digit in enumerate(scores):
        somebody = person(fall=0 if digit in "-?" else int(digit) / 10, **where)
        if digit == "?":
            somebody["scores"] = None
        seen.append(observe(first_s + i * every_s, *([] if digit == "-" else [somebody])))
    return run(engine, *seen)


def told(changes: list[EventChange]) -> str:
    """`start e1 @3, end e1 @5`: what changed and at which told or end second."""
    said = []
    for change in changes:
        event = change.event
        moment = event.end_s if change.kind == "end" else event.told_s
        if change.kind in ("start", "end"):
            said.append(f"{change.kind} {event.id} @{moment:g}")
    return ", ".join(said)


def an_event(**changes: Any) -> Event:
    """An event that has started."""
    values = {
        "id": "e1", "camera": "door", "rule": "fall", "kind": "action", "start_s": 1.0, "told_s": 1.5,
        "start_utc": 1_700_000_000.0, "told_utc": 1_700_000_000.5, "action": "fall down", "person": 1, "track": 7,
        "peak_score": 0.9, "mean_score": 0.8, "answers": 3, "box": (0.1, 0.2, 0.3, 0.8), "model": "tiny",
    }
    return Event(**(values | changes))
