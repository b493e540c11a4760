"""Who is who: people whose true ways are lines worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detector.association import Association


def person(x: float, y: float = 200.0, height: float = 80.0) -> list[float]:
    return [x - 15, y - height / 2, x + 15, y + height / 2]


def ids_of(association: Association, moments: list[tuple[float, list[list[float]]]], lost_s: float = 2.0) -> list:
    return [association.update(np.array(p, np.float32).reshape(-1, 4), t, lost_s, 0.5).tolist() for t, p in moments]


@pytest.mark.parametrize("gap_s", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("apart_px", [0.0, 8.0, 30.0])
def test_two_who_meet_and_go_on_keep_their_ids(gap_s, apart_px):
    times = np.arange(0, 6, gap_s)
    seen = ids_of(Association(), [
        (t, [person(100 + 60 * t), person(460 - 60 * t, 200 + apart_px, 90)]) for t in times
    ])
    assert all(ids == [1, 2] for ids in seen[1:])


def test_someone_hidden_behind_another_comes_back_as_himself():
    def people(t: float) -> list[list[float]]:
        hidden = 2.5 <= t <= 3.5
        return [person(300)] + ([] if hidden else [person(120 + 60 * t)])

    seen = ids_of(Association(), [(t, people(t)) for t in np.arange(0, 6, 0.2)])
    assert seen[1] == seen[-1] == [1, 2]
    assert all(ids[0] == 1 for ids in seen[1:])


def test_seen_once_is_nobody_yet_and_soon_forgotten():
    moments = [(0.0, [person(100)]), (1.0, [person(100)]), (1.2, [person(100)])]
    assert ids_of(Association(), moments) == [[-1], [-1], [1]]


def test_unseen_for_longer_is_somebody_else_and_ids_go_on():
    moments = [(0.0, [person(100)]), (0.2, [person(100)]), (3.0, [person(100)]), (3.2, [person(100)])]
    assert ids_of(Association(7), moments) == [[-1], [7], [-1], [8]]
    assert ids_of(Association(7), moments, lost_s=5.0) == [[-1], [7], [7], [7]]


def test_a_box_of_another_size_or_far_away_is_somebody_else():
    begun = [(0.0, [person(100)]), (0.2, [person(100)])]
    for other in (person(100, height=180), person(250)):
        assert ids_of(Association(), [*begun, (0.4, [other])])[-1] == [-1]


def test_each_box_is_one_persons():
    begun = [(0.0, [person(100), person(130)]), (0.2, [person(100), person(130)])]
    assert ids_of(Association(), [*begun, (0.4, [person(115)]), (0.6, [person(100), person(130)])])[-1] == [1, 2]
    assert ids_of(Association(), [(0.0, []), (0.2, [])]) == [[], []]
