"""The people of a camera as rules know them: the same person under a new track id stays the same. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from stream.events.records import Box, Observation
from stream.events.zones import Point, foot, height, overlap

# A new track is a lost person where the boxes overlap by this much, or the feet are this near, in body heights.
SAME_OVERLAP = 0.3
REACH_HEIGHTS = 0.6
# Somebody unseen for this long is forgotten, whatever the rules still wait for.
FORGET_S = 600.0


@dataclass(slots=True, eq=False)
class Person:
    """Somebody in front of a camera.

    Attributes:
        number: from 1; stays when the track id changes.
        track: the newest track id, -1 where there was none.
        box, surety: where he was seen last, in shares of the picture, and how sure the detector was.
        first_s, last_s: media time.
        row: of the observation, -1 while he is not in it.
    """

    number: int
    track: int
    box: Box
    surety: float
    first_s: float
    last_s: float
    row: int = -1

    @property
    def foot(self) -> Point:
        """Where he stands."""
        return foot(self.box)


@dataclass(slots=True)
class Persons:
    """Everybody who was seen lately.

    Attributes:
        reach_s: a person who is back within this time under another track id is the same.
        known: by number.
    """

    reach_s: float = 2.0
    known: dict[int, Person] = field(default_factory=dict)
    _next: int = 1

    def step(self, seen: Observation) -> list[Person]:
        """Take who is in an observation; gives them in its order."""
        boxes: list[Box] = [tuple(float(v) for v in row) for row in seen.people.xyxy]  # type: ignore[misc]
        tracks = seen.people.track_id.tolist()
        of_track = {p.track: p for p in self.known.values() if p.track >= 0}
        found: list[Person | None] = [of_track.get(t) if t >= 0 else None for t in tracks]
        for person in self.known.values():
            person.row = -1
        self._link(seen.time_s, boxes, found, seen.aspect)
        for row, (box, track) in enumerate(zip(boxes, tracks, strict=True)):
            person = found[row] or Person(self._next, track, box, 0.0, seen.time_s, seen.time_s)
            if found[row] is None:
                found[row] = person
                self.known[person.number] = person
                self._next += 1
            person.track = track if track >= 0 else person.track
            person.box, person.last_s, person.row = box, seen.time_s, row
            person.surety = float(seen.people.score[row])
        return [person for person in found if person is not None]

    def forget(self, time_s: float, keep: set[int]) -> list[int]:
        """Drop who has been away too long to come back, except those whom rules still hold; gives their numbers."""
        gone = [
            n for n, p in self.known.items()
            if time_s - p.last_s > (FORGET_S if n in keep else self.reach_s)
        ]
        for number in gone:
            del self.known[number]
        return gone

    def _link(self, time_s: float, boxes: list[Box], found: list[Person | None], aspect: float) -> None:
        """Give unknown boxes to lost people, nearest pair first."""
        taken = {p.number for p in found if p is not None}
        lost = [p for n, p in self.known.items() if n not in taken and time_s - p.last_s <= self.reach_s]
        pairs = []
        for row, box in enumerate(boxes):
            if found[row] is not None:
                continue
            for person in lost:
                common, apart = overlap(box, person.box), _apart(box, person.box, aspect)
                if common >= SAME_OVERLAP or apart <= REACH_HEIGHTS:
                    pairs.append((apart - common, row, person))
        for _, row, person in sorted(pairs, key=lambda pair: pair[:2]):
            if found[row] is None and person.number not in taken:
                found[row] = person
                taken.add(person.number)


def _apart(a: Box, b: Box, aspect: float) -> float:
    """Distance of two people's feet, in heights of the taller one."""
    (ax, ay), (bx, by) = foot(a), foot(b)
    tall = max(height(a), height(b), 1e-6)
    return math.hypot((ax - bx) * aspect, ay - by) / tall
