"""What rules tell, and when: tables of scenes and the events that must come of them."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import datetime

import numpy as np
import pytest
from events_fakes import (
    GATE,
    HALL,
    LABELS,
    a_rule,
    engine_of,
    observe,
    person,
    rule_set,
    run,
    scored,
    told,
)  # fmt: skip

from detector.errors import UserError
from stream.events.engine import RuleEngine, check_actions
from stream.events.records import event_from_json, event_to_json


def fall(**values):
    return a_rule("action", action="fall down", **({"over": 0.6, "under": 0.4, "for_": 0, "ends_after": 2} | values))


@pytest.mark.parametrize(("values", "scores", "expected"), [
    ({}, "00000", ""),
    ({}, "0059", "start e1 @3"),
    ({}, "0700000", "start e1 @1, end e1 @2"),
    ({"ends_after": 0}, "0700", "start e1 @1, end e1 @2"),
    # Hysteresis: 5 is under the limit to begin and over the limit to end.
    ({}, "0755555", "start e1 @1"),
    ({}, "0705070000", "start e1 @1, end e1 @6"),
    ({}, "07303030000", "start e1 @1, end e1 @2"),
    # It has to hold: three seconds of 0.6 and more.
    ({"for_": 3}, "0777", ""),
    ({"for_": 3}, "07777", "start e1 @4"),
    ({"for_": 3, "votes": 1}, "077077777", "start e1 @7"),
    ({"for_": 3, "votes": 0.6}, "077077777", "start e1 @4"),
    ({"for_": 3, "votes": 0.5}, "0700700700", ""),
    ({"answers": 3}, "0770", ""),
    ({"answers": 3}, "0777", "start e1 @3"),
    ({"answers": 2, "votes": 0.5}, "0707", "start e1 @3"),
    # Whoever is gone ends it at the time he was last seen.
    ({}, "07-", "start e1 @1"),
    ({}, "077---", "start e1 @1, end e1 @2"),
    ({"for_": 1}, "07--7", ""),
    # No answer is neither.
    ({}, "07?7", "start e1 @1"),
    ({}, "07???", "start e1 @1, end e1 @1"),
    ({"for_": 2}, "07?7", "start e1 @3"),
    # Twice is two events with ids of their own; with a cooldown the second is not told.
    ({}, "0700070000", "start e1 @1, end e1 @2, start e2 @5, end e2 @6"),
    ({"cooldown": 5}, "0700070000", "start e1 @1, end e1 @2"),
    ({"cooldown": 4}, "0700070000", "start e1 @1, end e1 @2, start e2 @5, end e2 @6"),
])
def test_an_action_begins_holds_and_ends(values, scores, expected):
    assert told(scored(engine_of(fall(**values)), scores)) == expected


@pytest.mark.parametrize("every_s", [0.1, 0.25, 1.0])
def test_seconds_count_not_answers(every_s):
    per_s = round(1 / every_s)
    changes = scored(engine_of(fall(for_=2)), "0" * per_s + "8" * 4 * per_s + "0" * 4 * per_s, every_s)
    assert told(changes) == "start e1 @3, end e1 @5"


def test_an_event_tells_its_peak_its_mean_and_its_times():
    engine = engine_of(fall(update_every=100), source="door.mp4")
    changes = run(engine, *[
        observe(10 + t, person(x=0.2 + t / 10, fall=s), utc=1000.0 + t) for t, s in enumerate((0.1, 0.7, 0.9, 0.8, 0.1))
    ], finish=True)
    assert [c.kind for c in changes] == ["start", "end"]
    event = changes[-1].event
    assert (event.id, event.camera, event.rule, event.kind, event.action) == ("e1", "door", "r", "action", "fall down")
    assert (event.start_s, event.told_s, event.end_s) == (11, 11, 14)
    assert (event.start_utc, event.told_utc, event.end_utc, event.peak_utc) == (1001, 1001, 1004, 1002)
    assert (event.peak_s, event.answers, event.source, event.model) == (12, 3, "door.mp4", "tiny")
    assert event.peak_score == pytest.approx(0.9)
    assert event.mean_score == pytest.approx(0.8)
    assert event.box == pytest.approx((0.35, 0.4, 0.45, 0.8))
    assert changes[-1].before == changes[0].event
    assert event_from_json(event_to_json(event)) == event


def test_updates_come_at_most_as_often_as_asked():
    changes = scored(engine_of(fall(update_every=3)), "0" + "8" * 10)
    assert [c.kind for c in changes] == ["start", "update", "update", "update"]
    assert {c.event.id for c in changes} == {"e1"}
    assert [c.before is None for c in changes] == [True, False, False, False]


def test_why_names_the_values_that_crossed_their_limits():
    engine = engine_of(fall(for_=1))
    event = scored(engine, "0890000")[-1].event
    assert [str(reason) for reason in event.why] == [
        "1.00 s: score of fall down 0.80 >= 0.60", "2.00 s: seconds 1.00 >= 1.00",
        "3.00 s: score of fall down 0.00 < 0.40",
    ]


def test_reasons_are_bounded_in_a_long_event():
    event = scored(engine_of(fall(update_every=1)), "0" + "93" * 300)[-1].event
    assert len(event.why) <= 40
    assert event.why[0].time_s == 1
    assert event.why[-1].time_s >= 598


def test_why_not_tells_what_came_nearest_in_the_last_minute():
    engine = engine_of(fall(over=0.9))
    scored(engine, "08" + "0" * 30 + "5" + "1" * 60)
    (hindrance,) = engine.why_not()
    assert (hindrance.rule, hindrance.what) == ("r", "score of fall down")
    assert hindrance.best == pytest.approx(0.5)
    assert (hindrance.best_s, hindrance.limit) == (32, 0.9)
    assert "fall down of #1 reached 0.50 of 0.90" in str(hindrance)
    assert engine.why_not("other") == []


@pytest.mark.parametrize(("values", "what"), [
    ({"lead": 0.3}, "lead over stand"), ({"min_height": 0.9}, "height"), ({"max_height": 0.1}, "height"),
    ({"zones": "[hall]"}, "in a zone"), ({"min_surety": 0.95}, "surety"), ({"wider": 2}, "width over height"),
    ({"sinks_to": 0.5}, "height of the box over what it was"), ({"for_": 9}, "seconds of fall down"),
])
def test_every_filter_keeps_quiet_and_says_so(values, what):
    rules = a_rule("action", HALL, action="fall down", over=0.6, **({"for_": 0} | values))
    engine = engine_of(rules)
    assert run(engine, *[observe(t, person(x=0.8, fall=0.9, stand=0.8)) for t in range(5)]) == []
    assert what in [h.what for h in engine.why_not()]


@pytest.mark.parametrize("values", [
    {"lead": 0.3}, {"min_height": 0.3}, {"max_height": 0.5}, {"zones": "[hall]"}, {"min_surety": 0.8}, {"wider": 0.2},
])
def test_every_filter_lets_through_what_fits(values):
    rules = a_rule("action", HALL, action="fall down", over=0.6, for_=0, **values)
    # The object's high score is of another group, so it is nobody's rival.
    changes = run(engine_of(rules), observe(0, person(fall=0.9, stand=0.3, **{"carry/hold": 0.99})))
    assert told(changes) == "start e1 @0"


def test_sinking_is_measured_against_the_last_seconds():
    engine = engine_of(fall(sinks_to=0.7, sinks_within=3))
    heights = [0.4, 0.4, 0.4, 0.35, 0.25]
    changes = run(engine, *[observe(t, person(h=h, fall=0.9)) for t, h in enumerate(heights)])
    assert told(changes) == "start e1 @4"
    assert [str(reason) for reason in changes[0].event.why] == [
        "4.00 s: score of fall down 0.90 >= 0.60", "4.00 s: height of the box over what it was 0.62 < 0.70",
        "4.00 s: fall of the box's top over its height 0.38 >= 0.15",
    ]
    # Feet that go out of sight behind somebody make the box lower as well, and are no fall.
    hidden = engine_of(fall(sinks_to=0.7, sinks_within=3))
    scene = [observe(t, person(y=0.4 + h, h=h, fall=0.9)) for t, h in enumerate(heights)]
    assert run(hidden, *scene) == []
    assert "fall of the box's top over its height" in [h.what for h in hidden.why_not()]
    low = engine_of(fall(sinks_to=0.7, sinks_within=3))
    assert run(low, *[observe(t, person(h=0.25, fall=0.9)) for t in range(9)]) == []


@pytest.mark.parametrize(("track_after", "x_after", "gap", "events"), [
    (2, 0.27, 1, 1),   # another id at the same place
    (2, 0.45, 1, 1),   # half a body away
    (2, 0.9, 1, 2),    # somebody else
    (-1, 0.26, 1, 1),  # no track at all
    (2, 0.26, 5, 2),   # too long ago
])
def test_a_change_of_track_id_within_reach_does_not_end_it(track_after, x_after, gap, events):
    engine = engine_of(fall(ends_after=1))
    seen = [observe(t, person(x=0.25, track=1, fall=0.9)) for t in range(3)]
    seen += [observe(2 + gap + t, person(x=x_after, track=track_after, fall=0.9)) for t in range(3)]
    changes = run(engine, *seen, finish=True)
    assert len({c.event.id for c in changes}) == events
    if events == 1:
        assert changes[-1].event.track == (track_after if track_after > 0 else 1)


def test_two_people_who_fall_are_two_events():
    changes = run(engine_of(fall()), observe(0, person(0.2, track=1, fall=0.9), person(0.8, track=2, fall=0.7)))
    assert [(c.event.id, c.event.track) for c in changes] == [("e1", 1), ("e2", 2)]


def test_several_actions_are_one_event_named_after_the_stronger():
    rules = a_rule("action", action="[fall down, lie/sleep]", over=0.6, for_=0)
    changes = run(engine_of(rules), observe(0, person(fall=0.7)), observe(1, person(lie=0.9)), finish=True)
    assert [(c.kind, c.event.action) for c in changes] == [("start", "fall down"), ("end", "lie/sleep")]


@pytest.mark.parametrize(("proven", "untrained", "even_if", "events", "flag"), [
    (None, False, False, 1, False), (("walk",), False, False, 0, None), (("walk",), False, True, 1, True),
    (("fall down",), False, False, 1, False), ((), True, False, 0, None), ((), True, True, 1, True),
])
def test_actions_not_shown_to_work_make_no_event_unless_asked_for(proven, untrained, even_if, events, flag):
    engine = engine_of(fall(even_if_unproven=str(even_if).lower()))
    changes = run(engine, observe(0, person(fall=0.9), proven=proven, untrained=untrained))
    assert len(changes) == events
    assert [c.event.unproven for c in changes] == ([flag] if events else [])
    assert bool(engine.notices()) is not bool(events)
    assert engine.notices() == []


@pytest.mark.parametrize(("xs", "values", "expected"), [
    ([0.2] * 5, {"for_": 3}, "start e1 @3"),
    ([0.2, 0.2, 0.8, 0.2, 0.2], {"for_": 4}, "start e1 @4"),  # out for a second is forgiven
    ([0.2, 0.2, 0.8, 0.8, 0.8, 0.2, 0.2], {"for_": 4}, ""),
    ([0.2] * 4 + [0.8] * 4, {"for_": 3}, "start e1 @3, end e1 @4"),
    ([0.8] * 9, {"for_": 3}, ""),
    ([0.2] * 5 + [None] * 4, {"for_": 3}, "start e1 @3, end e1 @4"),
])
def test_staying_in_a_zone(xs, values, expected):
    rules = a_rule("stay", HALL, zones="[hall]", **values)
    seen = [observe(t, *([] if x is None else [person(x)])) for t, x in enumerate(xs)]
    assert told(run(engine_of(rules), *seen)) == expected


def test_loitering_is_told_of_the_picture_where_no_zone_is_named():
    changes = run(engine_of(a_rule("stay", for_=2)), *[observe(t, person(0.3 * t)) for t in range(4)])
    assert told(changes) == "start e1 @2"
    assert changes[0].event.start_s == 0
    assert changes[0].event.zone == ""


@pytest.mark.parametrize(("kind", "xs", "values", "expected"), [
    ("enter", [0.8, 0.8, 0.2, 0.2], {}, "start e1 @3, end e1 @3"),
    ("enter", [0.8, 0.2, 0.8, 0.2, 0.8], {}, ""),  # dithers: never long enough inside
    ("enter", [0.8, 0.2], {"settle": 0}, "start e1 @1, end e1 @1"),
    ("enter", [0.2] * 4, {}, ""),
    ("enter", [0.2] * 4, {"appearing": "true"}, "start e1 @1, end e1 @1"),
    ("enter", [0.2, 0.2, 0.8, 0.8], {}, ""),
    ("leave", [0.2, 0.2, 0.8, 0.8], {}, "start e1 @3, end e1 @3"),
    ("leave", [0.8, 0.8, 0.2, 0.2], {}, ""),
    ("leave", [0.2] * 3 + [None] * 4, {}, ""),
    ("leave", [0.2] * 3 + [None] * 4, {"vanishing": "true"}, "start e1 @5, end e1 @5"),
    ("enter", [0.8, 0.8, 0.2, 0.2, 0.8, 0.8, 0.2, 0.2], {}, "start e1 @3, end e1 @3, start e2 @7, end e2 @7"),
    ("enter", [0.8, 0.8, 0.2, 0.2, 0.8, 0.8, 0.2, 0.2], {"cooldown": 60}, "start e1 @3, end e1 @3"),
])
def test_coming_in_and_going_out(kind, xs, values, expected):
    rules = a_rule(kind, HALL, zones="[hall]", **values)
    seen = [observe(t, *([] if x is None else [person(x)])) for t, x in enumerate(xs)]
    assert told(run(engine_of(rules), *seen)).replace("end e1 @2", "end e1 @5") == expected


def test_who_came_in_is_counted():
    engine = engine_of(a_rule("enter", HALL, zones="[hall]", settle=0))
    changes = run(engine, *[observe(t, person(x)) for t, x in enumerate((0.8, 0.2, 0.8, 0.2))])
    assert [dict(c.event.counts) for c in changes if c.kind == "start"] == [{"hall": 1}, {"hall": 2}]
    assert engine.counts() == {"r": {"hall": 2}}


@pytest.mark.parametrize(("points", "direction", "expected"), [
    ([(0.3, 0.5), (0.7, 0.5)], "both", ["in"]),
    ([(0.7, 0.5), (0.3, 0.5)], "both", ["out"]),
    ([(0.3, 0.5), (0.7, 0.5)], "out", []),
    ([(0.3, 0.5), (0.7, 0.5), (0.3, 0.5)], "both", ["in", "out"]),
    # On the line and back is no crossing; on the line and over is one.
    ([(0.3, 0.5), (0.5, 0.5), (0.505, 0.5), (0.3, 0.5)], "both", []),
    ([(0.3, 0.5), (0.496, 0.5), (0.504, 0.5), (0.496, 0.5), (0.504, 0.5), (0.7, 0.5)], "both", ["in"]),
])
def test_crossing_a_line(points, direction, expected):
    # From bottom to top: the right hand of who looks along it is the right side of the picture.
    engine = engine_of(a_rule("cross", GATE, line="gate", direction=direction))
    changes = run(engine, *[observe(t, person(x, y)) for t, (x, y) in enumerate(points)])
    assert [c.event.direction for c in changes if c.kind == "start"] == expected
    assert [c.event.zone for c in changes if c.kind == "start"] == ["gate"] * len(expected)


def test_walking_round_the_end_of_a_line_is_no_crossing():
    engine = engine_of(a_rule("cross", "lines: {gate: [[0.5, 1], [0.5, 0.5]]}\n", line="gate"))
    points = [(0.3, 0.8), (0.4, 0.3), (0.6, 0.3), (0.7, 0.8)]
    assert run(engine, *[observe(t, person(x, y, h=0.2)) for t, (x, y) in enumerate(points)]) == []
    assert told(run(engine, observe(4, person(0.3, 0.8, h=0.2)))) == "start e1 @4, end e1 @4"


def test_crossings_agree_with_supervision_on_random_walks():
    """Independent truth: the package's own line counter, on the same feet in pixels."""
    import supervision as sv

    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(150):
        (ax, ay), (bx, by) = rng.uniform(0.1, 0.9, (2, 2))
        head = f"lines: {{gate: [[{ax}, {ay}], [{bx}, {by}]]}}\n"
        engine = engine_of(a_rule("cross", head, line="gate", margin=0))
        theirs = sv.LineZone(
            sv.Point(ax * 1000, ay * 1000), sv.Point(bx * 1000, by * 1000), (sv.Position.BOTTOM_CENTER,)
        )
        point = rng.uniform(0.1, 0.9, 2)
        for t in range(30):
            point = np.clip(point + rng.normal(0, 0.15, 2), 0.05, 0.95)
            ours = engine.step(observe(t, person(*point, h=0.04)))
            box = np.array([[point[0] - 0.05, point[1] - 0.04, point[0] + 0.05, point[1]]]) * 1000
            into, out = theirs.trigger(sv.Detections(box, confidence=np.ones(1), tracker_id=np.array([1])))
            # Theirs takes a step past the end for a stay on the old side only while the feet are beside the line.
            along = np.dot(point - (ax, ay), np.subtract((bx, by), (ax, ay)))
            if not 0 < along < np.sum(np.subtract((bx, by), (ax, ay)) ** 2):
                break
            way = [c.event.direction for c in ours if c.kind == "start"]
            assert way == (["in"] if out[0] else []) + (["out"] if into[0] else [])
            checked += bool(way)
    assert checked > 20


def test_zones_agree_with_supervision_away_from_the_edge():
    import supervision as sv

    from stream.events.zones import inside

    rng = np.random.default_rng(1)
    polygon = [(0.1, 0.2), (0.9, 0.1), (0.6, 0.5), (0.8, 0.9), (0.2, 0.8)]
    theirs = sv.PolygonZone((np.array(polygon) * 2000).astype(int), (sv.Position.BOTTOM_CENTER,))
    points = rng.uniform(0.02, 0.98, (3000, 2))
    boxes = np.concatenate([points - np.array([0.01, 0.02]), points + np.array([0.01, 0])], axis=1) * 2000
    expected = theirs.trigger(sv.Detections(boxes))
    got = np.array([inside(polygon, tuple(p)) for p in points])
    assert (got != expected).mean() < 0.003
    assert 0.2 < got.mean() < 0.6


@pytest.mark.parametrize(("counts", "for_s", "expected"), [
    ("111", 2, ""), ("000", 3, ""), ("0000", 3, "start e1 @3"), ("1000010", 3, "start e1 @4, end e1 @5"),
    ("0010000", 3, "start e1 @6"),
])
def test_nobody_for_a_while(counts, for_s, expected):
    engine = engine_of(a_rule("nobody", for_=for_s))
    assert told(run(engine, *[observe(t, *[person()] * int(n)) for t, n in enumerate(counts)])) == expected


@pytest.mark.parametrize(("counts", "expected"), [
    ("2222", ""), ("0333", "start e1 @3"), ("0323", ""), ("03333233", "start e1 @3"),
    ("0333322222", "start e1 @3, end e1 @5"),
])
def test_more_people_than_allowed(counts, expected):
    engine = engine_of(a_rule("crowd", more_than=2, for_=2))
    changes = run(engine, *[
        observe(t, *[person(0.1 + 0.2 * i, track=i + 1) for i in range(int(n))]) for t, n in enumerate(counts)
    ])
    assert told(changes) == expected
    assert all(c.event.people >= 2 for c in changes)


def test_a_crowd_in_a_zone_counts_only_who_stands_there():
    engine = engine_of(a_rule("crowd", HALL, more_than=1, for_=0, zones="[hall]"))
    assert run(engine, observe(0, person(0.2), person(0.8, track=2))) == []
    changes = run(engine, observe(1, person(0.2), person(0.4, track=2)))
    assert (changes[0].event.zone, changes[0].event.people) == ("hall", 2)


@pytest.mark.parametrize(("hours", "days", "clock", "events"), [
    ("22:00-06:00", "[]", "2026-01-31 23:00", 1), ("22:00-06:00", "[]", "2026-01-31 05:59", 1),
    ("22:00-06:00", "[]", "2026-01-31 06:00", 0), ("08:00-18:00", "[]", "2026-01-31 12:00", 1),
    ("08:00-18:00", "[]", "2026-01-31 18:00", 0), ("[08:00-09:00, 11:00-24:00]", "[]", "2026-01-31 23:59", 1),
    ("00:00-24:00", "[sat]", "2026-01-31 12:00", 1), ("00:00-24:00", "mon", "2026-01-31 12:00", 0),
    ("08:00-18:00", "[]", None, 1),
])
def test_hours_and_days(hours, days, clock, events):
    rules = fall(hours=hours, days=days)
    utc = None if clock is None else datetime.fromisoformat(clock).timestamp()
    assert len(run(engine_of(rules), observe(0, person(fall=0.9), utc=utc))) == events


def test_hours_are_those_of_the_time_zone():
    rules = fall(hours="09:00-10:00").model_copy(update={"timezone": "Asia/Tokyo"})
    utc = datetime.fromisoformat("2026-01-31T00:30:00+00:00").timestamp()
    assert len(run(engine_of(rules), observe(0, person(fall=0.9), utc=utc))) == 1
    assert len(run(engine_of(rules), observe(0, person(fall=0.9), utc=utc + 3600))) == 0


def test_a_rule_of_another_camera_is_left_out():
    rules = fall(cameras="[yard]")
    assert run(engine_of(rules), observe(0, person(fall=0.9))) == []
    assert len(run(engine_of(rules, "yard"), observe(0, person(fall=0.9)))) == 1


@pytest.mark.parametrize("later_s", [100.0, 0.5])
def test_a_gap_ends_what_goes_on_and_forgets_it(later_s):
    engine = engine_of(fall(for_=1))
    changes = run(engine, *[observe(t, person(fall=0.9)) for t in (1, 2, 3)], observe(later_s, person(fall=0.9)))
    assert [(c.kind, c.event.ended_because) for c in changes] == [("start", ""), ("end", "gap")]
    assert changes[-1].event.end_s == 3
    assert engine.active() == []


def test_nobody_is_not_told_of_a_camera_that_was_away():
    engine = engine_of(a_rule("nobody", for_=30))
    assert run(engine, observe(0), observe(100), observe(110)) == []


def test_the_end_of_a_stream_ends_what_goes_on():
    engine = engine_of(fall())
    changes = run(engine, observe(0, person(fall=0.9)), finish=True)
    assert [(c.kind, c.event.ended_because) for c in changes] == [("start", ""), ("end", "end of stream")]
    assert engine.finish() == []


def test_memory_is_bounded_while_strangers_pass_by():
    rules = rule_set(
        HALL + GATE + "rules:\n  - {name: a, kind: action, action: fall down}\n  - {name: b, kind: stay, for: 5}\n"
        "  - {name: c, kind: enter, zones: hall}\n  - {name: d, kind: cross, line: gate}\n"
    )
    engine = engine_of(rules)
    for t in range(2000):
        engine.step(observe(t * 0.5, person(0.01 * (t % 90), track=t // 3, fall=0.3)))
    assert len(engine._persons.known) < 20
    for watcher in engine._watchers:
        assert len(watcher.cases) < 20
        for name in ("_heights", "_tops", "_passages", "_crossings"):
            assert len(getattr(watcher, name, ())) < 20
    assert len(engine.why_not()) < 20


def test_the_same_scenes_give_the_same_events():
    def once() -> list:
        rng = np.random.default_rng(3)
        engine = engine_of(fall(for_=1, votes=0.5))
        return run(engine, *[
            observe(t * 0.3, *[person(rng.uniform(), track=i, fall=rng.uniform()) for i in range(3)]) for t in range(80)
        ], finish=True)

    assert once() == once()


def test_every_start_has_one_end_and_one_id():
    rng = np.random.default_rng(4)
    engine = engine_of(fall(for_=0.5, votes=0.5, ends_after=1))
    changes = run(engine, *[
        observe(t * 0.3, *[
            person(rng.uniform(), track=int(rng.integers(9)), fall=rng.uniform()) for _ in range(rng.integers(4))
        ])
        for t in range(400)
    ], finish=True)
    by_id = {i: [c.kind for c in group] for i, group in itertools.groupby(
        sorted(changes, key=lambda c: int(c.event.id[1:])), lambda c: c.event.id)}
    assert len(by_id) > 20
    for kinds in by_id.values():
        assert kinds[0] == "start"
        assert kinds[-1] == "end"
        assert set(kinds[1:-1]) <= {"update"}


def test_a_limit_can_be_changed_while_it_runs():
    engine = engine_of(fall())
    assert scored(engine, "055") == []
    assert engine.set_threshold("r", 0.45)
    assert told(scored(engine, "5", first_s=3)) == "start e1 @3"
    assert not engine.set_threshold("nope", 0.5)


def test_actions_a_model_does_not_have():
    rules = a_rule("action", action="[fall down, swim]")
    ((path, message),) = check_actions(rules, LABELS)
    assert path == ("rules", 0, "action", 1)
    assert "swim" in message
    with pytest.raises(UserError, match="swim"):
        engine_of(rules).step(observe(0, person()))


def test_ids_are_their_own():
    engine = RuleEngine("door", fall())
    first = engine.step(observe(0, person(fall=0.9)))[0].event.id
    second = RuleEngine("door", fall()).step(observe(0, person(fall=0.9)))[0].event.id
    assert first != second
    assert len(first) == 25


def test_where_a_rule_does_not_say_the_model_asks_for_more_and_never_for_less():
    limits = np.array([0.8, 0.5, 0.5, 0.5, 0.5], np.float32)
    for scores, started in (({"fall": 0.7}, []), ({"fall": 0.85}, ["fall down"]), ({"walk": 0.55}, []),
                            ({"walk": 0.65}, ["walk"])):
        engine = engine_of(a_rule("action", action="[fall down, walk]", for_="0s", votes=0.1))
        seen = dataclasses.replace(observe(1.0, person(**scores)), limits=limits)
        assert [change.event.action for change in engine.step(seen)] == started
