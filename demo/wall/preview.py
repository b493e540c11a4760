"""What a rule would have told: it is asked about the answers of the last hour, which are kept in memory for that."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from detector.errors import UserError
from stream.events.engine import RuleEngine
from stream.events.records import Observation, observation_of
from stream.events.rules import RuleSet
from stream.results import KeyFrameResult

KEPT_S = 3600.0
# At two answers a second that is an hour; of a camera that answers more often, less.
MOST_ANSWERS = 7200


class History:
    """The last answers of each camera; `take` is a listener of the service."""

    def __init__(self, kept_s: float = KEPT_S, clock: Callable[[], float] = time.time) -> None:
        self._kept_s, self._clock = kept_s, clock
        self._seen: dict[str, deque[tuple[float, Observation]]] = {}
        self._lock = threading.Lock()

    def take(self, camera: str, result: KeyFrameResult) -> None:
        """One more answer."""
        now_s, seen = self._clock(), observation_of(result)
        with self._lock:
            answers = self._seen.setdefault(camera, deque(maxlen=MOST_ANSWERS))
            answers.append((now_s, seen))
            while answers and answers[0][0] < now_s - self._kept_s:
                answers.popleft()

    def of(self, camera: str) -> list[Observation]:
        """Oldest first."""
        with self._lock:
            return [seen for _, seen in self._seen.get(camera, ())]

    def forget(self, names: set[str]) -> None:
        """Keep these cameras' alone."""
        with self._lock:
            for name in set(self._seen) - names:
                del self._seen[name]


def would_have_told(camera: str, rules: RuleSet, rule: str, answers: Sequence[Observation]) -> dict[str, Any]:
    """Ask a rule about answers.

    Args:
        camera: name.
        rules: zones, lines and rules.
        rule: name of the one that is asked about.
        answers: oldest first.

    Returns:
        `times`: how often it would have told; `events`: the last ten as [UTC, seconds, peak]; `minutes`: of answers;
        `why_not`: lines that say what kept it from telling in the last minute.

    Raises:
        UserError: it names an action that the model does not have.
    """
    alone = rules.model_copy(update={"rules": [one for one in rules.rules if one.name == rule]})
    if not alone.rules:
        raise UserError(f"rule {rule!r}: there is none of that name")
    engine = RuleEngine(camera, alone)
    told: dict[str, Any] = {}
    for seen in answers:
        for change in engine.step(seen):
            told[change.event.id] = change.event
    hindrances = [str(line) for line in engine.why_not()][:5]
    for change in engine.finish():
        told[change.event.id] = change.event
    events = sorted(told.values(), key=lambda event: event.start_s)
    first, last = (answers[0], answers[-1]) if answers else (None, None)
    minutes = 0.0 if first is None or last is None else ((last.utc or last.time_s) - (first.utc or first.time_s)) / 60
    return {
        "times": len(events), "minutes": round(max(minutes, 0.0), 1), "why_not": hindrances,
        "events": [[e.start_utc, e.seconds, round(e.peak_score, 2)] for e in events[-10:]],
    }
