"""Who is who from one look to the next: a Kalman filter of each person's centre, and the cheapest assignment.

No threads; times are handed in and may be any distance apart, as a detector on a CPU runs at no fixed rate. A box is
compared with where its person should be by three things: the distance over what the filter holds for likely
(Mahalanobis'), the change of height, and the time unseen. The assignment is the cheapest of all (Kuhn 1955, by
`scipy.optimize.linear_sum_assignment`). Colour of clothes was tried and confuses people more than it helps at 70 px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Noise of a box's centre, changes of speed in a second and a newcomer's unknown speed, over the person's height.
CENTRE_NOISE, ACCELERATION, FIRST_SPEED = 0.12, 0.3, 1.0
# What distance, size (as a logarithm) and time unseen weigh. Of 108 settings tried on vtest.avi at 5, 2.5 and 1.7
# looks a second these are among the best; the worst makes as many changes of id as ByteTrack did.
DISTANCE_WEIGHT, SIZE_WEIGHT, UNSEEN_WEIGHT = 0.3, 0.5, 0.1
# Further away than this over the height, and this more in each second unseen up to the most, nobody is the same.
NEAR, NEAR_PER_S, MOST_UNSEEN_S = 0.5, 1.0, 1.5
# A box of another height by this factor is somebody else.
MOST_SIZE_CHANGE = 1.8
# Heights follow slowly: arms go up and legs are hidden.
HEIGHT_FOLLOWS = 0.3
_IMPOSSIBLE = 1e6


@dataclass(eq=False, slots=True)
class _Person:
    """Centre and speed with their covariance at `time_s`, the moment of the last sighting."""

    state: np.ndarray
    covariance: np.ndarray
    height: float
    time_s: float
    track_id: int = -1

    def at(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance at a later moment."""
        dt = time_s - self.time_s
        move = np.eye(4)
        move[0, 2] = move[1, 3] = dt
        noise = np.kron(np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]), np.eye(2))
        covariance = move @ self.covariance @ move.T + (ACCELERATION * self.height) ** 2 * noise
        return move @ self.state, covariance

    def seen(self, centre: np.ndarray, height: float, time_s: float) -> None:
        """Correct the filter by a sighting."""
        state, covariance = self.at(time_s)
        gain = covariance[:, :2] @ np.linalg.inv(covariance[:2, :2] + _noise(self.height))
        self.state = state + gain @ (centre - state[:2])
        self.covariance = covariance - gain @ covariance[:2]
        self.height += HEIGHT_FOLLOWS * (height - self.height)
        self.time_s = time_s


class Association:
    """The people who are remembered; ids count from `first_id`."""

    def __init__(self, first_id: int = 1) -> None:
        self.next_id = first_id
        self._people: list[_Person] = []

    def update(self, xyxy: np.ndarray, time_s: float, lost_after_s: float, new_after_s: float) -> np.ndarray:
        """Take what was seen at a moment later than all before.

        Args:
            xyxy: (N, 4) boxes.
            time_s: their moment.
            lost_after_s: whoever was unseen for longer is forgotten.
            new_after_s: likewise for those who were seen once only.

        Returns:
            (N,) ids; -1 where a person is seen for the first time.
        """
        self._people = [
            p for p in self._people if time_s - p.time_s <= (lost_after_s if p.track_id >= 0 else new_after_s) + 1e-6
        ]
        centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        heights = np.maximum(xyxy[:, 3] - xyxy[:, 1], 1.0)
        ids = np.full(len(xyxy), -1, np.int64)
        new = set(range(len(xyxy)))
        for i, j in _cheapest(self._costs(centres, heights, time_s)):
            person = self._people[i]
            person.seen(centres[j], float(heights[j]), time_s)
            if person.track_id < 0:
                person.track_id, self.next_id = self.next_id, self.next_id + 1
            ids[j] = person.track_id
            new.discard(j)
        for j in sorted(new):
            height = float(heights[j])
            spread = np.array([CENTRE_NOISE, CENTRE_NOISE, FIRST_SPEED, FIRST_SPEED]) * height
            state = np.array([*centres[j], 0.0, 0.0])
            self._people.append(_Person(state, np.diag(spread**2), height, time_s))
        return ids

    def _costs(self, centres: np.ndarray, heights: np.ndarray, time_s: float) -> np.ndarray:
        """(people, N) what it costs that a box is a person's."""
        costs = np.full((len(self._people), len(centres)), _IMPOSSIBLE)
        for row, person in zip(costs, self._people):
            state, covariance = person.at(time_s)
            away = centres - state[:2]
            inverse = np.linalg.inv(covariance[:2, :2] + _noise(person.height))
            unlikely = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away))
            size = np.abs(np.log(heights / person.height))
            unseen_s = time_s - person.time_s
            limit = (NEAR + NEAR_PER_S * min(unseen_s, MOST_UNSEEN_S)) * person.height
            possible = (np.hypot(*away.T) < limit) & (size < np.log(MOST_SIZE_CHANGE))
            cost = DISTANCE_WEIGHT * unlikely + SIZE_WEIGHT * size + UNSEEN_WEIGHT * unseen_s
            row[possible] = cost[possible]
        return costs


def _noise(height: float) -> np.ndarray:
    return np.eye(2) * (CENTRE_NOISE * height) ** 2


def _cheapest(costs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns of the cheapest possible assignment."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if costs[i, j] < _IMPOSSIBLE]
