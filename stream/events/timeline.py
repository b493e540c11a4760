"""A picture of what rules did over time: values against limits, states, and why. The one door to matplotlib here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.errors import UserError
from stream.events.cases import RuleState
from stream.events.records import Event

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(slots=True)
class Course:
    """What a rule did: its states at each answer, in order."""

    rule: str
    kind: str
    times_s: list[float] = field(default_factory=list)
    states: list[list[RuleState]] = field(default_factory=list)


class Courses:
    """The courses of all rules of a camera; `add` after each step of its engine."""

    def __init__(self) -> None:
        self.of: dict[str, Course] = {}

    def add(self, time_s: float, states: Sequence[RuleState]) -> None:
        """Note the states after an answer."""
        by_rule: dict[str, list[RuleState]] = {}
        for state in states:
            by_rule.setdefault(state.rule, []).append(state)
            self.of.setdefault(state.rule, Course(state.rule, state.kind))
        for rule, course in self.of.items():
            course.times_s.append(time_s)
            course.states.append(by_rule.get(rule, []))


def draw_timeline(path: str | Path, title: str, courses: Courses, events: Sequence[Event], end_s: float) -> None:
    """Write a PNG: one row a rule, a line a person, grey where it is pending, coloured where it is told.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("--plot: matplotlib is not installed; run: pip install 'slowfast-live[events]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys([*courses.of, *(event.rule for event in events)])) or ["no rule"]
    figure, rows = plt.subplots(
        len(names), 1, figsize=(14, 1.2 + 2.4 * len(names)), sharex=True, squeeze=False, layout="constrained"
    )
    for row, name in zip(rows[:, 0], names):
        _draw_rule(row, name, courses.of.get(name), [e for e in events if e.rule == name], end_s)
    rows[0, 0].set_title(title, loc="left", fontsize=11)
    rows[-1, 0].set_xlabel("seconds")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        plt.close(figure)


def _draw_rule(row, name: str, course: Course | None, events: Sequence[Event], end_s: float) -> None:
    row.set_ylabel(name, fontsize=9)
    row.set_xlim(0, max(end_s, 1.0))
    for n, event in enumerate(events):
        until = event.end_s if event.end_s is not None else end_s
        colour = COLOURS[event.person % len(COLOURS)]
        row.axvspan(event.start_s, max(until, event.start_s + 0.1), color=colour, alpha=0.25, lw=0)
        row.axvline(event.told_s, color=colour, lw=1.2, ls=":")
        why = "\n".join(str(reason).split(": ", 1)[1] for reason in event.why[:2])
        who = f"#{event.person} " if event.person >= 0 else ""
        row.annotate(f"{who}{event.action or event.direction or event.kind}\n{why}", (event.told_s, 1.0),
                     xycoords=("data", "axes fraction"), xytext=(3, -4 - 30 * (n % 3)), textcoords="offset points",
                     fontsize=6.5, va="top", color="#222222")
    if course is None:
        return
    limit = next((s.limit for states in course.states for s in states), None)
    if limit is not None:
        row.axhline(limit, color="#444444", lw=0.8, ls="--")
    people = sorted({(s.person, s.zone) for states in course.states for s in states})
    for person, zone in people:
        points = [
            (t, s.value, s.state) for t, states in zip(course.times_s, course.states) for s in states
            if (s.person, s.zone) == (person, zone)
        ]
        colour = COLOURS[person % len(COLOURS)]
        row.plot([t for t, _, _ in points], [v for _, v, _ in points], color=colour, lw=0.9, alpha=0.8)
        pending = [(t, v) for t, v, state in points if state == "pending"]
        row.plot([t for t, _ in pending], [v for _, v in pending], ".", color="#888888", ms=4)
