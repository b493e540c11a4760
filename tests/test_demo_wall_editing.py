"""The page writes into the cameras' file: comments, order and the rest stay, and nothing wrong gets in."""

from __future__ import annotations

import pytest

pytest.importorskip("ruamel.yaml")
pytest.importorskip("pydantic")

from demo.wall.editing import places_of, rules_of, stamp_of, write_places, write_rule
from detector.errors import UserError
from stream.service.reading import read_cameras

TEXT = """\
# My house: keep this.
defaults:
  every: 0.5    # twice a second
cameras:
  # the front door
  door:
    source: "rtsp://admin:${PASSWORD}@host/door"   # quoted
    motion: {sensitivity: high}
    rules:
      # falls first
      - {name: fall, kind: action, action: fall down, over: 0.6}   # tuned in May
      - name: late
        kind: stay
        for: 30s    # half a minute
        hours: 22:00-06:00
  yard: {source: sample, share: 2}

  hall:
"""
SQUARE = [[0.1, 0.2], [0.9, 0.2], [0.9, 0.80004], [0.1, 0.8]]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "hunter2")
    path = tmp_path / "cameras.yaml"
    path.write_text(TEXT.replace("  hall:\n", "  hall: {source: sample}\n"))
    return path


def test_zones_lines_and_masks_are_written_and_all_else_stays_letter_by_letter(file):
    before = file.read_text()
    places = {"zones": {"hall": SQUARE}, "lines": {"step": [[0.2, 0.5], [0.8, 0.5]]}, "masks": [SQUARE],
              "motion_masks": [SQUARE[:3]]}
    write_places(file, "door", places, stamp_of(file))
    after = file.read_text()
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    gone = [line for line in before.splitlines() if line not in after.splitlines()]
    assert gone == ["    motion: {sensitivity: high}"]
    assert "      hall: [[0.1, 0.2], [0.9, 0.2], [0.9, 0.8], [0.1, 0.8]]" in added
    assert places_of(file, "door")["lines"] == {"step": [[0.2, 0.5], [0.8, 0.5]]}
    described = read_cameras(file)
    assert described.file.cameras["door"].masks == [[(0.1, 0.2), (0.9, 0.2), (0.9, 0.8), (0.1, 0.8)]]
    assert described.file.cameras["door"].motion.sensitivity == "high"
    assert len(described.file.cameras["door"].motion.masks) == 1
    assert described.rules["door"].zones["hall"][2] == (0.9, 0.8)
    assert "hunter2" not in after


def test_taking_all_away_gives_the_file_as_it_was(file):
    before = file.read_text()
    stamp = write_places(file, "yard", {"zones": {"hall": SQUARE}, "masks": [SQUARE]}, stamp_of(file))
    assert file.read_text() != before
    write_places(file, "yard", {"zones": {}, "lines": {}, "masks": [], "motion_masks": []}, stamp)
    assert file.read_text() == before


def test_one_rule_is_changed_and_the_others_and_its_comments_stay(file):
    stamp = write_rule(file, "door", {"name": "fall", "kind": "action", "action": "fall down", "over": 0.8}, "fall",
                       stamp_of(file))
    text = file.read_text()
    assert text == TEXT.replace("  hall:\n", "  hall: {source: sample}\n").replace("over: 0.6", "over: 0.8")
    stamp = write_rule(file, "door", {"name": "crowd", "kind": "crowd", "more_than": 2}, "crowd", stamp)
    assert [rule["name"] for rule in rules_of(file, "door")] == ["fall", "late", "crowd"]
    stamp = write_rule(file, "door", None, "late", stamp)
    write_rule(file, "door", None, "crowd", stamp)
    assert [rule.name for rule in read_cameras(file).rules["door"].rules] == ["fall"]


@pytest.mark.parametrize(("camera", "places", "says"), [
    ("door", {"zones": {"a": SQUARE[:2]}}, "zones"), ("door", {"masks": [[[2, 0], [0, 1], [1, 1]]]}, "masks"),
    ("door", {"zones": {"a/b": SQUARE}}, "zones"), ("door", {"lines": {"a": SQUARE}}, "lines"),
    ("door", {"zones": {"a": [["x", 0]]}}, "lists of"), ("nobody", {"zones": {}}, "none of that name"),
    ("door", {"zones": 7}, "lists of"),
])
def test_what_the_service_would_not_take_is_not_written(file, camera, places, says):
    before = file.read_text()
    with pytest.raises(UserError, match=says) as told:
        write_places(file, camera, places, stamp_of(file))
    assert file.read_text() == before
    assert ".new" not in str(told.value)
    assert [path.name for path in file.parent.iterdir()] == ["cameras.yaml"]


def test_a_rule_about_a_zone_that_is_not_there_is_not_written(file):
    before = file.read_text()
    with pytest.raises(UserError, match="cellar"):
        write_rule(file, "door", {"name": "x", "kind": "enter", "zones": ["cellar"]}, "x", stamp_of(file))
    assert file.read_text() == before


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(file):
    stamp = stamp_of(file)
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(UserError, match="changed meanwhile"):
        write_places(file, "door", {"masks": [SQUARE]}, stamp)
    assert file.read_text().endswith("# mine\n")


def test_lists_that_are_not_indented_stay_so(file):
    flat = "cameras:\n  door:\n    source: sample\n    rules:\n    - {name: s, kind: stay, for: 1s}   # one\n"
    file.write_text(flat)
    write_places(file, "door", {"masks": [SQUARE]}, stamp_of(file))
    assert file.read_text().startswith(flat)


def test_modes_stay_and_links_are_followed(file, tmp_path):
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    write_places(link, "door", {"masks": [SQUARE]}, stamp_of(link))
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert len(places_of(file, "door")["masks"]) == 1
