"""Workers that die are replaced, their video is tried once more, and nothing else is lost."""

from __future__ import annotations

import pytest
from archive_fakes import moody_work, stillborn, video

from detector.errors import UserError
from stream.archive import crew
from stream.archive.crew import run_crew, usual_workers
from stream.archive.settings import Settings
from stream.archive.worker import Order


def told(names, folder, workers=2, body=moody_work):
    """What was said, in order: (kind, name, content)."""
    jobs = [(video(name), name) for name in names]
    return [
        (news.kind, news.key, news.content) for news in run_crew(jobs, Order(Settings(), str(folder), 1), workers, body)
        if news.content
    ]


def test_every_video_is_handed_out_once_and_bad_ones_do_not_stop_the_others(tmp_path):
    news = told(["a", "bad", "b", "c"], tmp_path)
    assert sorted(name for kind, name, _ in news if kind == "done") == ["a", "b", "c"]
    assert [(name, content) for kind, name, content in news if kind == "bad"] == [("bad", "no video")]
    assert ("at", "a", 0.5) in news


def test_a_video_whose_worker_dies_is_tried_once_more(tmp_path):
    news = told(["dies once", "a", "dies", "b"], tmp_path)
    assert sorted(name for kind, name, _ in news if kind == "done") == ["a", "b", "dies once"]
    bad = [(name, content) for kind, name, content in news if kind == "bad"]
    assert bad == [("dies", "its worker died 2 times (signal 9)")]


def test_what_no_video_can_help_ends_all(tmp_path):
    with pytest.raises(UserError, match="the disk is full"):
        told(["fatal", *"abcdef"], tmp_path, workers=1)


def test_workers_that_cannot_start_end_all_and_no_video_is_blamed(tmp_path):
    with pytest.raises(UserError, match=r"3 workers died as soon as they were started \(exit code 3\)"):
        told(["a"], tmp_path, workers=1, body=stillborn)


def test_a_worker_that_stands_still_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "STALLED_S", 1.0)
    news = told(["sleeps", "a"], tmp_path, workers=1)
    assert [(kind, name) for kind, name, _ in news if kind in ("done", "bad")] == [("done", "a"), ("bad", "sleeps")]


@pytest.mark.parametrize(("cores", "gib", "expected"), [(2, 16, 2), (8, 4, 2), (1, 64, 1), (64, 1, 1), (4, 6, 4)])
def test_workers_are_as_many_as_there_is_room_for(cores, gib, expected):
    assert usual_workers(cores, gib * 2**30) == expected
