"""How often rules are right on real, labelled video: `python -m stream.events measure --media ../shared/media`.

Falls, jumps, walking and standing on labelled clips; false alarms on ordinary life, where nobody falls or jumps;
walking and standing, loitering and line crossing on vtest.avi against its own tracks. The videos are for measuring
only and are no part of the project.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import UserError
from detector.labels import LabelMap
from stream.events.answers_file import read_answers
from stream.events.engine import RuleEngine
from stream.events.records import Event, Observation
from stream.events.replay import keep_answers, proven_of
from stream.events.rule_file import build, parse_yaml
from stream.events.rules import RuleSet
from stream.events.truth import (
    SLACK_S,
    Segment,
    TrueBox,
    ordinary_films,
    read_segments,
    read_vtest,
    true_observations,
)
from stream.events.zones import overlap

EVERY_S = 0.2
# A person sees an event told so long after its labelled segment as told about it.
LATE_S = 2.0
ACTIONS = {
    "fall": ("fall down", "over: 0.6, under: 0.3, for: 0s, sinks_to: 0.75, sinks_within: 2s, ends_after: 3s, "
             "cooldown: 10s"),
    "fall, score alone": ("fall down", "over: 0.6, under: 0.3, for: 0s, ends_after: 3s, cooldown: 10s"),
    "jump": ("jump/leap", "for: 0.6s"),
    "walk": ("walk", "for: 1s"),
    "stand": ("stand", "for: 1s"),
}
PLACES = """
zones: {square: [[0.30, 0.35], [0.75, 0.35], [0.75, 1.0], [0.30, 1.0]]}
lines: {path: [[0.5, 1.0], [0.5, 0.0]]}
rules:
  - {name: loitering 5 s, kind: stay, zones: square, for: 5s, ends_after: 2s}
  - {name: line crossing, kind: cross, line: path, margin: 0.02}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A rule's figures: right, missed, false events, how late (median s), false ones an hour of ordinary video."""

    rule: str
    on: str
    right: int
    missed: int
    false: int | None
    late_s: float | None
    false_an_hour: float | None


def rule_of(name: str) -> RuleSet:
    """The rule that is measured under a name."""
    action, limits = ACTIONS[name]
    text = f"rules: [{{name: rule, kind: action, action: {action}, even_if_unproven: true, {limits}}}]"
    values, lines = parse_yaml(text, name)
    return build(RuleSet, values, lines)


def events_of(rules: RuleSet, seen: Sequence[Observation]) -> list[Event]:
    """All events of a film, each as it was told last."""
    engine = RuleEngine("measured", rules)
    events: dict[str, Event] = {}
    for observation in seen:
        for change in engine.step(observation):
            events[change.event.id] = change.event
    for change in engine.finish():
        events[change.event.id] = change.event
    return list(events.values())


def measure_action(name: str, films: dict[str, list[Observation]], segments: Sequence[Segment], ordinary: list[str],
                   look_ahead_s: float) -> Row:
    """A rule about an action on the labelled clips, and on ordinary life where that is without the action.

    A segment is right if an event is told from its beginning to `LATE_S` after its end; how late is from its
    beginning, with the network's look-ahead.
    """
    action, rules = ACTIONS[name][0], rule_of(name)
    events = {film: events_of(rules, seen) for film, seen in films.items()}
    mine = [s for s in segments if s.action == action and s.film in films]
    late, used = [], set()
    for segment in mine:
        hits = [
            e for e in events[segment.film]
            if e.told_s >= segment.from_s - SLACK_S and e.start_s <= segment.to_s + LATE_S
        ]
        used |= {e.id for e in hits}
        if hits:
            late.append(max(min(e.told_s for e in hits) - segment.from_s, 0.0) + look_ahead_s)
    never = action in ("fall down", "jump/leap")
    hours = sum(films[f][-1].time_s for f in ordinary if films.get(f)) / 3600
    on_ordinary = sum(len(events.get(f, [])) for f in ordinary) if never else None
    labelled = {s.film for s in segments} - {s.film for s in mine}
    elsewhere = sum(len(events.get(f, [])) for f in labelled) + sum(
        1 for s in {s.film for s in mine} for e in events[s] if e.id not in used
    )
    return Row(
        name, f"{len(mine)} segments of labelled clips", len(late), len(mine) - len(late), elsewhere if never else None,
        statistics.median(late) if late else None, on_ordinary / hours if on_ordinary is not None and hours else None,
    )


def measure_vtest_pose(pose: str, seen: Sequence[Observation], truth: Sequence[TrueBox], look_ahead_s: float) -> Row:
    """Events of walking or standing on vtest.avi against the pose of the labelled person at their peak."""
    right = false = 0
    told = set()
    for event in events_of(rule_of(pose), [o for o in seen if o.time_s <= truth[-1].time_s]):
        near = [
            b for b in truth
            if event.box is not None and abs(b.time_s - event.peak_s) <= 0.5 and overlap(b.box, event.box) >= 0.4
        ]
        best = max(near, key=lambda b: overlap(b.box, event.box or b.box), default=None)
        if best is None or not best.pose:
            continue
        right, false = right + (best.pose == pose), false + (best.pose != pose)
        told.add(best.track)
    tracks: dict[int, list[TrueBox]] = {}
    for box in truth:
        tracks.setdefault(box.track, []).append(box)
    missed = sum(
        1 for track, boxes in tracks.items()
        if sum(b.pose == pose for b in boxes) >= 4 and track not in told
    )
    return Row(f"{pose} (vtest)", "events with a labelled person", right, missed, false, None, None)


def measure_places(seen: Sequence[Observation], truth: Sequence[TrueBox], labels: LabelMap) -> list[Row]:
    """Loitering and line crossing on vtest.avi against the same rules on its own tracks, labelled once a second."""
    values, lines = parse_yaml(PLACES, "places")
    rules = build(RuleSet, values, lines)
    end_s = truth[-1].time_s
    expected = events_of(rules, true_observations(list(truth), labels))
    got = events_of(rules, [o for o in seen if o.time_s <= end_s])
    rows = []
    for rule in rules.rules:
        wanted = [e for e in expected if e.rule == rule.name]
        found = [e for e in got if e.rule == rule.name]
        late, free = [], list(found)
        for event in wanted:
            same: Callable[[Event], bool] = lambda e, event=event: (  # type: ignore[misc]  # noqa: E731
                e.direction == event.direction and abs(e.start_s - event.start_s) <= 2.0
                and e.box is not None and event.box is not None
            )
            hit = min((e for e in free if same(e)), key=lambda e: abs(e.start_s - event.start_s), default=None)
            if hit is not None:
                free.remove(hit)
                late.append(max(hit.told_s - event.told_s, 0.0))
        rows.append(Row(
            rule.name, f"{len(wanted)} on vtest's own tracks", len(late), len(wanted) - len(late), len(free),
            statistics.median(late) if late else None, None,
        ))
    return rows


def measure(media: Path, answers: Path, say: Callable[[str], None] = print) -> list[Row]:
    """All figures; the network's answers are kept in a folder, so that the next run takes seconds.

    Raises:
        UserError: a film or a file of labels is missing.
    """
    segments, ordinary = read_segments(media), ordinary_films(media)
    paths = [*(media / "actions" / name for name in dict.fromkeys(s.film for s in segments)), *ordinary]
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file; give the folder of labelled videos")
    look_ahead_s = _answer_all(paths, answers, say)
    films: dict[str, list[Observation]] = {}
    for path in paths:
        file = answers / f"{path.name}.jsonl"
        films[path.name] = list(read_answers(file, proven_of(str(file))))
    names = [path.name for path in ordinary]
    rows = [measure_action(name, films, segments, names, look_ahead_s) for name in ACTIONS]
    truth, vtest = read_vtest(media), films["vtest.avi"]
    rows += [measure_vtest_pose(pose, vtest, truth, look_ahead_s) for pose in ("walk", "stand")]
    return rows + measure_places(vtest, truth, vtest[0].labels)


def _answer_all(paths: Sequence[Path], answers: Path, say: Callable[[str], None]) -> float:
    """Run the network over the films that have no answers yet; gives its look-ahead in seconds."""
    from detector.weights.choose import resolve_action_model

    missing = [path for path in paths if not (answers / f"{path.name}.jsonl").exists()]
    if missing:
        from stream.session import open_session

        with open_session(report=say) as session:
            for path in missing:
                say(f"watching {path.name}")
                keep_answers(str(path), answers / f"{path.name}.jsonl", session, EVERY_S)
    return resolve_action_model()[0].sampling.look_ahead_s


def table(rows: Sequence[Row]) -> list[str]:
    """The figures as a table in Markdown."""
    lines = [
        "| rule | measured on | right | missed | false | seconds late (median) | false an hour of ordinary video |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        late = "" if row.late_s is None else f"{row.late_s:.1f}"
        hour = "" if row.false_an_hour is None else f"{row.false_an_hour:.0f}"
        false = "" if row.false is None else str(row.false)
        lines.append(f"| {row.rule} | {row.on} | {row.right} | {row.missed} | {false} | {late} | {hour} |")
    return lines
