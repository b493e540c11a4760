"""Each change of a source's state is told once, with its reason; a table of what happens when."""

import json

import numpy as np
import pytest
from stream_fakes import Clock, FakeTracker, ListSource, fake_session, grey_frames

from stream.outputs.ava_csv import AvaCsv
from stream.outputs.json_lines import JsonLines
from stream.pipeline import Options, Pipeline
from stream.presence import FIRST_PICTURE_S, SILENT, Presence
from stream.results import StatusChange, status_to_json
from stream.sources import SourceStatus
from stream.watching import Watch

UP = SourceStatus()


def down(reason):
    return SourceStatus(False, f"camera offline: {reason}; next attempt in 3 s", reason)


def told(steps, fps=10.0):
    """Run steps of (seconds, pictures come, changes of the source); gives (second, status, reason)."""
    presence, now, out = Presence("door", 0.0), 0.0, []
    for seconds, pictures, changes in steps:
        until = now + seconds
        while now < until - 1e-9:
            now += 1 / fps if pictures else 0.1
            if pictures:
                presence.arrived(now)
            out += [(round(now, 1), c.status, c.reason) for c in presence.news(changes, now, 1000 + now)]
            changes = []
    return out


@pytest.mark.parametrize(("steps", "expected"), [
    ([(60, True, [])], []),
    # Lost, refused, refused for another reason, back: one line each, however many attempts are made.
    ([(5, True, []), (3, False, [down("the stream ended")]), (3, False, [down("refused")] * 4),
      (3, False, [down("401"), down("refused"), down("401")]), (5, True, [UP])],
     [(5.1, "offline", "the stream ended"), (8.1, "offline", "refused"), (11.1, "offline", "401"),
      (14.1, "online", "pictures are coming again")]),
    # Two outages between two looks are two.
    ([(5, True, []), (1, True, [down("a"), UP, down("a"), UP])],
     [(5.1, "offline", "a"), (5.1, "online", "pictures are coming again")] * 2),
    # Silent without a word from the source; when it is given up for that, nothing new is said.
    ([(5, True, []), (6, False, []), (3, False, [down(SILENT)]), (2, True, [UP])],
     [(7.1, "offline", SILENT), (14.1, "online", "pictures are coming again")]),
    # Silent, and then pictures again on the same connection.
    ([(5, True, []), (6, False, []), (5, True, [])],
     [(7.1, "offline", SILENT), (11.1, "online", "pictures are coming again")]),
    # Never a picture.
    ([(20, False, [])], [(FIRST_PICTURE_S + 0.1, "offline", SILENT)]),
])
def test_each_change_is_told_once(steps, expected):
    assert told(steps) == expected


def test_a_slow_camera_is_not_silent_between_two_pictures():
    # One picture in four seconds.
    assert [line for line in told([(60, True, [])], fps=0.25) if line[0] > 20] == []
    presence, now = Presence("door", 0.0), 0.0
    for now in np.arange(0, 40, 4.0):
        presence.arrived(now)
        presence.news([], now, 0)
    assert presence.silent_s(now + 10) == 0
    assert presence.silent_s(now + 13) == pytest.approx(13)


def test_status_as_json_is_what_the_page_says(tmp_path):
    change = StatusChange("rtsp://***@door/live", False, "Server returned 401 Unauthorized", 1769850000.123)
    assert status_to_json(change) == {
        "schema": 1, "source": "rtsp://***@door/live", "status": "offline",
        "reason": "Server returned 401 Unauthorized", "utc": "2026-01-31T09:00:00.123Z",
    }
    for sink, lines in ((JsonLines(tmp_path / "a.jsonl", np.zeros(3)), 1), (AvaCsv(tmp_path / "a.csv"), 0)):
        sink.write(change)
        sink.close()
        text = (tmp_path / sink.path).read_text()
        assert text.count("\n") == lines
    assert json.loads((tmp_path / "a.jsonl").read_text())["status"] == "offline"


class Comes(ListSource):
    """A live source that says what happens to it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.happened = []

    def changes(self):
        taken, self.happened = self.happened, []
        return taken


@pytest.mark.parametrize("pictures", [True, False])
def test_changes_reach_whoever_iterates_with_or_without_pictures(pictures):
    session, _, _ = fake_session()

    def before(index):
        if index == 3:
            source.happened += [down("gone"), down("401")]
        if index == 6:
            source.happened += [UP]

    source = Comes(grey_frames(10), live=True, before=before)
    with session, Pipeline(source, session, Options(pictures=pictures), tracker=FakeTracker()) as pipeline:
        changes = [c for update in pipeline for c in update.changes]
    assert [(c.source, c.status, c.reason) for c in changes] == [
        ("list", "offline", "gone"), ("list", "offline", "401"), ("list", "online", "pictures are coming again"),
    ]


def test_a_source_that_never_gives_a_picture_is_told_all_the_same():
    session, _, _ = fake_session()
    clock = Clock()
    with session:
        watch = Watch(ListSource([], live=True), session, Options(), FakeTracker(), clock)
        assert watch.news() == ()
        clock.now_s = 30.0
        assert [c.reason for c in watch.news()] == [SILENT]
        assert watch.status().message == "no picture for 30 s"
        assert not watch.status().online
        file = Watch(ListSource([]), session, Options(), FakeTracker(), clock)
        clock.now_s = 90.0
        assert file.status().online


def test_what_happens_at_the_very_end_is_told_too():
    class Ends(Comes):
        def __iter__(self):
            yield from super().__iter__()
            self.happened += [down("gone for good")]

    session, _, _ = fake_session()
    source = Ends(grey_frames(3), live=True)
    with session, Pipeline(source, session, Options(pictures=False), tracker=FakeTracker()) as pipeline:
        assert [c.reason for update in pipeline for c in update.changes] == ["gone for good"]
