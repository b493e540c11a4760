"""On a Ray cluster of this machine: the same bytes as from processes, also when an actor dies on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from archive_fakes import fake_work, use_fakes, use_fakes_and_die_once

from detector.errors import UserError
from stream.archive.books import Books
from stream.archive.crew import run_crew
from stream.archive.ray_crew import run_on_ray
from stream.archive.settings import Settings
from stream.archive.videos import find_videos
from stream.archive.worker import Order

pytest.importorskip("ray")
pytest.importorskip("pyarrow")
TESTS = Path(__file__).resolve().parent


@pytest.fixture
def videos(write_video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for n in range(4):
        write_video(f"{n}.mp4", frames=21 + 10 * n).rename(folder / f"{n}.mp4")
    (folder / "bad.mp4").write_text("no video")
    return find_videos(str(folder), "")[0]


def outcome(news):
    """What came of each video, without how long it took."""
    last = {each.video.name: each for each in news if each.kind in ("done", "bad")}
    return {
        name: {k: v for k, v in each.content.items() if k != "wall_s"} if each.kind == "done" else each.content
        for name, each in last.items()
    }


def files(output):
    return {
        path.relative_to(output): path.read_bytes() for kind in ("answers", "ava", "rows")
        for path in sorted((Path(output) / kind).rglob("*.*"))
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("before", [use_fakes, use_fakes_and_die_once])
def test_a_cluster_gives_the_same_bytes(videos, tmp_path, monkeypatch, before):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    monkeypatch.setenv("ARCHIVE_FAKE_MARK", str(tmp_path / "mark"))
    jobs = [(video, video.key("s")) for video in videos]
    outcomes = []
    for name in ("processes", "cluster"):
        (tmp_path / name).mkdir()
        order = Order(Settings(thresholds=("0.2",)), str(tmp_path / name), 1)
        news = run_crew(jobs, order, 1, fake_work) if name == "processes" else \
            run_on_ray(jobs, order, "local", 2, before)
        outcomes.append(outcome(news))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 5
    assert "cannot be opened" in outcomes[0]["bad.mp4"]
    assert files(tmp_path / "processes") == files(tmp_path / "cluster")
    assert len(files(tmp_path / "cluster")) == 12
    assert all(Books(tmp_path / "cluster").find(key) for video, key in jobs if video.name != "bad.mp4")
    assert (tmp_path / "mark").exists() == (before is use_fakes_and_die_once)


@pytest.mark.slow
def test_no_cluster_is_told_in_one_line(videos, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="--ray auto: no cluster answers") as caught:
        list(run_on_ray([(videos[0], "k")], Order(Settings(), str(tmp_path), 1), "auto"))
    assert "\n" not in str(caught.value)
    assert "ray start --head" in str(caught.value)
