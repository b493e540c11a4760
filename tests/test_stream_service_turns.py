"""Turns: the machine is shared fairly by camera, whatever each of them costs."""

import pytest

from stream.service.turns import Turns, batch_is_ready


def serve(turns, costs, rounds, shares=None):
    """Everybody always waits; how often each was served."""
    served = dict.fromkeys(costs, 0)
    for _ in range(rounds):
        name = turns.pick(costs)
        served[name] += 1
        turns.charge(name, costs[name], (shares or {}).get(name, 1.0))
    return served


def test_equals_are_served_in_turn():
    turns = Turns()
    order = []
    for _ in range(6):
        order.append(turns.pick(["a", "b", "c"]))
        turns.charge(order[-1], 1.0)
    assert sorted(order[:3]) == sorted(order[3:]) == ["a", "b", "c"]


def test_a_busy_street_does_not_starve_a_quiet_door():
    served = serve(Turns(), {"street": 0.8, "door": 0.1}, 90)
    assert served["door"] == pytest.approx(8 * served["street"], abs=8)


@pytest.mark.parametrize(("shares", "ratio"), [({}, 1), ({"a": 3.0}, 3), ({"b": 2.0}, 0.5)])
def test_shares_decide_what_each_gets(shares, ratio):
    served = serve(Turns(), {"a": 0.2, "b": 0.2}, 120, shares)
    assert served["a"] / served["b"] == pytest.approx(ratio, rel=0.1)


def test_nobody_saves_up_turns_while_quiet():
    turns = Turns()
    serve(turns, {"a": 1.0, "b": 1.0}, 100)
    # c comes late, or comes back: it is next, and then takes its turn like the others.
    assert turns.pick(["a", "b", "c"]) == "c"
    turns.charge("c", 1.0)
    assert serve(turns, {"a": 1.0, "b": 1.0, "c": 1.0}, 30) == {"a": 10, "b": 10, "c": 10}


def test_who_always_waits_is_not_starved_by_those_who_come_and_go():
    turns = Turns()
    waited = served = 0
    for i in range(100):
        name = turns.pick(["street", f"door{i % 4}"])
        waited = 0 if name == "street" else waited + 1
        served += name == "street"
        assert waited <= 4
        turns.charge(name, 1.0)
    assert served >= 20


def test_those_who_are_gone_leave_nothing():
    turns = Turns()
    turns.charge("a", 5.0)
    turns.forget("a")
    assert turns.pick([]) is None
    assert not turns._spent
    assert not turns._served


@pytest.mark.parametrize(("waiting", "most", "expected"), [
    ({}, 8, []),
    ({"a": 3, "b": 3, "c": 3}, 8, ["a", "b"]),
    ({"a": 3, "b": 3, "c": 2}, 8, ["a", "b", "c"]),
    ({"a": 20, "b": 1}, 8, ["a"]),
    ({"a": 1, "b": 20}, 8, ["a"]),
    ({"a": 1, "b": 1}, 1, ["a"]),
])
def test_a_batch_takes_as_many_as_fit_in_order_of_turn(waiting, most, expected):
    turns = Turns()
    for cost, name in enumerate("abc"):
        turns.charge(name, cost)
    assert turns.pick_batch(waiting, most) == expected


@pytest.mark.parametrize(("since_s", "rows", "ready"), [(10.0, 1, False), (9.9, 1, True), (10.0, 8, True)])
def test_a_batch_starts_when_full_or_when_the_first_has_waited_enough(since_s, rows, ready):
    assert batch_is_ready(since_s, 10.05, rows, 8, 0.1) is ready
