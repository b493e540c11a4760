"""One video: all files say the same, twice the same bytes, and what cannot be read is the video's fault alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stream_fakes import LABELS, FakeEngine, fake_session

from stream.archive.label import BadVideo, label_video
from stream.archive.settings import Settings
from stream.archive.videos import Video
from stream.sources import VideoFile

arrow = pytest.importorskip("pyarrow.parquet")


def label(path, folder, settings=None, engine=None):
    """Record, files by kind, and how far it was told to be."""
    folder.mkdir()
    told = []
    session = fake_session(engine=engine)[0]
    video = Video(str(path), f"sub/{path.name}", path.stat().st_size, 0)
    with session:
        record, made = label_video(
            video, "0123456789abcdef", lambda size_hw: session, settings or Settings(thresholds=("0.2",)), folder,
            told.append,
        )
    return record, made, told


def test_files_and_record_tell_the_same(write_video, tmp_path):
    path = write_video(frames=41)
    record, made, told = label(path, tmp_path / "made")
    lines = [json.loads(line) for line in made["answers"].read_text().splitlines()]
    assert [line["time_s"] for line in lines] == [0, 1, 2, 3, 4]
    assert {line["source"] for line in lines} == {"sub/clip.mp4"}
    table = arrow.read_table(made["rows"])
    rows = table.to_pylist()
    people = [(line["time_s"], person) for line in lines for person in line["people"]]
    assert len(rows) == len(people) == record["rows"] > 3
    for row, (time_s, person) in zip(rows, people, strict=True):
        assert (row["video"], row["time_s"], row["person"]) == ("sub/clip.mp4", time_s, person["id"])
        assert [row[side] for side in ("x1", "y1", "x2", "y2")] == pytest.approx(person["box"], abs=0.051)
        assert row["actions"] == [action["name"] for action in person["actions"]]
        for action in person["actions"]:
            column = LABELS.column_of_id[action["id"]]
            assert row["scores"][column] == pytest.approx(action["score"], abs=6e-4)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(facts["labels"]) == [action.name for action in LABELS]
    assert (facts["schema"], facts["model"], facts["untrained"]) == ("1", "tiny", "false")
    assert made["ava"].read_text().startswith("clip,0000,")
    assert record["key_frames"] == 5
    assert sum(record["people"].values()) == 5
    assert record["seconds"] == pytest.approx(4.1, abs=0.11)
    assert told == sorted(told)


def test_twice_the_same_bytes(write_video, tmp_path):
    path = write_video(frames=31)
    first, second = label(path, tmp_path / "a")[1], label(path, tmp_path / "b")[1]
    assert [p.read_bytes() for p in first.values()] == [p.read_bytes() for p in second.values()]


def test_a_video_in_which_nobody_is_has_an_empty_table_with_its_columns(write_video, tmp_path, monkeypatch):
    from stream_fakes import FakeDetector

    from detector.types import Boxes

    monkeypatch.setattr(FakeDetector, "detect", lambda self, image: Boxes.empty())
    record, made, _ = label(write_video(frames=21), tmp_path / "made")
    table = arrow.read_table(made["rows"])
    assert (table.num_rows, record["rows"], record["people"]) == (0, 0, {"0": 3})
    assert "scores" in table.column_names
    assert made["ava"].exists()


def test_events_have_ids_that_are_the_same_each_time(write_video, tmp_path):
    pytest.importorskip("pydantic")
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {name: somebody, kind: crowd, more_than: 0, for: 0s}\n")
    settings = Settings(thresholds=("0.2",), every_s=0.25, rules=str(rules))
    path = write_video(frames=41)
    record, made, _ = label(path, tmp_path / "a", settings)
    lines = [json.loads(line) for line in made["events"].read_text().splitlines()]
    assert lines[0]["type"] == "start"
    assert lines[-1]["type"] == "end"
    assert {line["id"] for line in lines} == {"0123456789ab-000000000001"}
    assert record["events"] == 1
    assert label(path, tmp_path / "b", settings)[1]["events"].read_bytes() == made["events"].read_bytes()


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000])
def test_what_is_no_video_is_bad_and_says_why(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(BadVideo) as caught:
        label(path, tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).startswith(str(path))


def test_an_engine_that_fails_in_the_middle_makes_the_video_bad(write_video, tmp_path):
    def fail(call):
        if call == 2:
            raise RuntimeError("no memory\nat all")

    with pytest.raises(BadVideo, match=r"^RuntimeError: no memory$"):
        label(write_video(frames=41), tmp_path / "made", engine=FakeEngine(before=fail))


def test_a_file_that_breaks_off_is_worked_through_or_bad_and_never_more(write_video, tmp_path):
    whole = write_video(frames=60).read_bytes()
    for share in (0.3, 0.6, 0.9):
        path = tmp_path / f"cut{share}.mp4"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            record, _, _ = label(path, tmp_path / f"made{share}")
        except BadVideo:
            continue
        assert record["key_frames"] >= 1


def test_frames_of_a_third_size_ask_for_a_session_of_their_own(write_video):
    session = fake_session()[0]
    with session:
        for size_hw in ((48, 64), (48, 96)):
            assert session.has_room_for(size_hw)
            session.frame_size(size_hw)
        assert session.has_room_for((96, 128))
        assert not session.has_room_for((48, 48))


def test_files_are_what_the_tests_think(write_video):
    assert VideoFile(write_video(frames=41)).duration_s == pytest.approx(4.1, abs=0.01)
    assert np.isfinite(VideoFile(write_video(frames=41)).fps)
