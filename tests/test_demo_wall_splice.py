"""One key of a YAML text is changed and every other letter stays."""

from __future__ import annotations

import pytest

pytest.importorskip("ruamel.yaml")

from demo.wall.splice import set_item, set_key
from stream.service.reading import open_yaml

AT = ("cameras", "door", "masks")


@pytest.mark.parametrize(("before", "after"), [
    # Added at the end of a camera, before what belongs to the next one.
    ("cameras:\n  door:\n    source: a   # x\n\n  # the next\n  yard: {source: b}\n",
     "cameras:\n  door:\n    source: a   # x\n    masks: 7\n\n  # the next\n  yard: {source: b}\n"),
    # A file that does not end in a line break.
    ("cameras:\n  door:\n    source: a", "cameras:\n  door:\n    source: a\n    masks: 7\n"),
    # In the place of a longer one, whose items stand as far left as their key.
    ("cameras:\n  door:\n    masks:\n    - [1]\n    # two\n    - [2]\n    source: a\n",
     "cameras:\n  door:\n    masks: 7\n    source: a\n"),
    # A camera in braces is written anew, and it alone.
    ("cameras:\n  door: {source: a}   # x\n  yard:   {source: b}\n",
     "cameras:\n  door: {source: a, masks: 7} # x\n  yard:   {source: b}\n"),
    # One that has nothing below it.
    ("defaults: {source: a}\ncameras:\n  door:\n  # y\n  yard:   {source: b}\n", None),
    # Other languages, and what looks like a comment.
    ("cameras:\n  door:\n    source: 'ä: #1'\n    # für später\n", None),
    ("cameras: {door: {source: a}, yard: {source: b}}\n", None),
])
def test_a_key_is_set(before, after):
    made = set_key(before, AT, 7)
    expected = open_yaml().load(before)
    if expected["cameras"]["door"] is None:
        expected["cameras"]["door"] = {}
    expected["cameras"]["door"]["masks"] = 7
    assert open_yaml().load(made) == expected
    if after is not None:
        assert made == after
    for line in before.splitlines():
        if "yard" in line and "door" not in line:
            assert line in made.splitlines()


def test_what_was_added_is_taken_away_again_without_a_trace():
    before = "cameras:\n  door:\n    source: a   # x\n    # last words\n\n# end\n"
    assert set_key(set_key(before, AT, [[1, 2]]), AT, None) == before


ITEMS = """\
cameras:
  door:
    rules:
      # falls first
      - {name: fall, over: 0.6}   # tuned in May
      - name: late
        hours: 22:00-06:00   # at night

      # a crowd
      - {name: crowd}
    source: a
"""


@pytest.mark.parametrize(("number", "value", "gone", "new"), [
    (0, {"name": "fall", "over": 0.8}, ["      - {name: fall, over: 0.6}   # tuned in May"],
     ["      - {name: fall, over: 0.8}   # tuned in May"]),
    (1, {"name": "late", "hours": "21:00-06:00"}, ["        hours: 22:00-06:00   # at night"],
     ["        hours: 21:00-06:00   # at night"]),
    (3, {"name": "more"}, [], ["      - {name: more}"]), (2, None, ["      - {name: crowd}"], []),
    (0, None, ["      - {name: fall, over: 0.6}   # tuned in May"], []),
])
def test_an_item_is_changed_added_or_taken_away_and_the_others_stay(number, value, gone, new):
    made = set_item(ITEMS, ("cameras", "door", "rules"), number, value)
    before, after = ITEMS.splitlines(), made.splitlines()
    assert [line for line in before if line not in after] == gone
    assert [line for line in after if line not in before] == new
    rules = open_yaml().load(made)["cameras"]["door"]["rules"]
    expected = list(open_yaml().load(ITEMS)["cameras"]["door"]["rules"])
    expected[number:number + 1] = [] if value is None else [value]
    assert rules == expected
