"""Shared models: opened once, closed when another needs the room, never under somebody; seats are counted."""

from __future__ import annotations

import threading

import pytest

from demo.pool import Busy, ModelPool, Seats
from detector.errors import UserError


class FakeSession:
    def __init__(self) -> None:
        self.closed = False
        self.thresholds: list[float] = []

    def set_person_threshold(self, value: float) -> None:
        self.thresholds.append(value)

    def close(self) -> None:
        self.closed = True


def make_pool(max_loaded: int = 1, names=("a", "b")):
    opened: list[tuple[str, FakeSession]] = []

    def open_model(name: str) -> FakeSession:
        opened.append((name, FakeSession()))
        return opened[-1][1]

    return ModelPool(names, open_model, max_loaded), opened


def test_visitors_share_one_session():
    pool, opened = make_pool()
    first, second = pool.lease("a"), pool.lease("a")
    assert first.session is second.session
    assert len(opened) == 1
    assert pool.users == 2


def test_a_model_that_nobody_uses_makes_room_for_another():
    pool, opened = make_pool()
    pool.lease("a").release()
    pool.lease("b")
    assert opened[0][1].closed
    assert not opened[1][1].closed


def test_a_model_in_use_is_never_closed_for_another():
    pool, opened = make_pool()
    pool.lease("a")
    with pytest.raises(Busy, match="other visitors are using a"):
        pool.lease("b")
    assert not opened[0][1].closed


def test_the_shared_detector_runs_at_the_lowest_threshold_asked_for():
    pool, opened = make_pool()
    first, second = pool.lease("a"), pool.lease("a")
    first.set_person_threshold(0.8)
    second.set_person_threshold(0.4)
    assert opened[0][1].thresholds[-1] == 0.4
    second.release()
    assert opened[0][1].thresholds[-1] == 0.8


def test_a_lease_released_twice_counts_once():
    pool, _ = make_pool()
    first, _second = pool.lease("a"), pool.lease("a")
    first.release()
    first.release()
    first.set_person_threshold(0.1)
    assert pool.users == 1


def test_an_unknown_model_and_one_that_does_not_open_are_told():
    pool = ModelPool(("a",), lambda name: (_ for _ in ()).throw(UserError("no weights")))
    with pytest.raises(UserError, match="not offered"):
        pool.lease("x")
    with pytest.raises(UserError, match="no weights"):
        pool.lease("a")
    assert pool.users == 0


def test_opening_one_model_does_not_hold_up_those_who_watch_another():
    opening, go_on = threading.Event(), threading.Event()

    def open_model(name: str) -> FakeSession:
        if name == "b":
            opening.set()
            assert go_on.wait(10)
        return FakeSession()

    pool = ModelPool(("a", "b"), open_model, 2)
    lease = pool.lease("a")
    thread = threading.Thread(target=pool.lease, args=("b",))
    thread.start()
    assert opening.wait(10)
    other = threading.Thread(target=lease.set_person_threshold, args=(0.5,))
    other.start()
    other.join(5)
    held_up = other.is_alive()
    go_on.set()
    thread.join(10)
    assert not held_up


def test_closing_frees_every_session_and_lends_no_more():
    pool, opened = make_pool(2)
    pool.lease("a")
    pool.lease("b")
    pool.close()
    pool.close()
    assert all(session.closed for _, session in opened)
    with pytest.raises(Busy):
        pool.lease("a")


def test_seats_are_limited_and_politely_so():
    seats = Seats(2)
    leave = seats.take()
    seats.take()
    with pytest.raises(Busy, match="please try again"):
        seats.take()
    leave()
    leave()
    assert seats.taken == 1
    seats.take()
