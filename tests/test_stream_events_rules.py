"""Files of rules: what may stand in them, and one line for each mistake."""

from __future__ import annotations

import pytest
from events_fakes import a_rule, rule_set
from pydantic import ValidationError

from detector.errors import UserError
from stream.events.config import EventsFile
from stream.events.rule_file import build, load_rules, parse_yaml, read_yaml
from stream.events.rules import RuleSet, seconds

FILE = """\
zones:
  hall: [[0, 0], [1, 0], [1, 1]]
lines: {door: [[0.5, 0], [0.5, 1]]}
rules:
  - name: fall
    kind: action
    action: fall down
    over: 0.6
    for: 0.5s
    zones: [hall]
    hours: 22:00-06:00
"""


def test_a_good_file_is_read(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    rules, lines = load_rules(path)
    (rule,) = rules.rules
    assert (rule.name, rule.kind, rule.action, rule.over, rule.for_s) == ("fall", "action", ["fall down"], 0.6, 0.5)
    assert (rule.zones, rule.hours) == (["hall"], ["22:00-06:00"])
    assert lines.of["rules", 0, "over"] == 8


@pytest.mark.parametrize(("old", "new", "line", "words"), [
    ("over: 0.6", "over: 1.6", 8, ["rules[0].over", "got 1.6", "less than or equal to 1"]),
    ("over: 0.6", "ovr: 0.6", 8, ["rules[0].ovr", "no such key", "over"]),
    ("kind: action", "kind: acton", 6, ["rules[0].kind", "'acton'", "action, stay"]),
    ("    kind: action\n", "", 5, ["`kind` is missing", "action, stay"]),
    ("    action: fall down\n", "", 5, ["`action` is missing"]),
    ("[hall]", "[hal]", 10, ["rules[0].zones[0]", "'hal'", "hall"]),
    ("for: 0.5s", "for: soon", 9, ["rules[0].for", "'soon'", "30s"]),
    ("name: fall", "name: fa/ll", 5, ["rules[0].name", "1 to 64 characters"]),
    ("[1, 1]]", "[1, 2]]", 2, ["zones.hall[2][1]", "got 2"]),
    ("[[0, 0], [1, 0], [1, 1]]", "[[0, 0], [1, 0]]", 2, ["zones.hall", "at least 3"]),
    ("[[0, 0], [1, 0], [1, 1]]", "[[0, 0], [1, 0]]", 2, ["zones.hall: got 2 of them, expected at least 3"]),
    ("[[0, 0], [1, 0], [1, 1]]", "left", 2, ["zones.hall: got 'left', expected a list"]),
    ("zones:\n", "zone:\n", 1, ["zone", "no such key", "zones"]),
    ("action: fall down", "action: []", 7, ["rules[0].action", "at least 1"]),
    ("over: 0.6", "over: 0.6\n    under: 0.9", 9, ["rules[0].under", "at most `over`"]),
    ("22:00-06:00", "22-06", 11, ["rules[0].hours", "22:00-06:00"]),
    ("0.5s", "0.5s\n    for: 3", 10, ["rules[0].for", "twice"]),
    ("over: 0.6", "over: ${NOT_THERE_AT_ALL}", 8, ["NOT_THERE_AT_ALL", "environment"]),
    ("over: 0.6", "over: !file nope", 8, ["nope", "No such file"]),
    ("over: 0.6", "over: !python/name:os.system x", 8, ["plain value"]),
    ("over: 0.6", "over: [0.6", 9, ["expected YAML"]),
    ("[0.5, 1]]", "[0.5, 0]]", 3, ["lines.door", "same point twice"]),
    ("rules:", "timezone: Mars/Base\nrules:", 4, ["timezone", "Europe/Berlin"]),
    ("hours: 22", "line: door\n    hours: 22", 11, ["rules[0].line", "no such key"]),
])
def test_a_mistake_is_one_line_with_file_and_line(old, new, line, words):
    assert old in FILE
    with pytest.raises(UserError) as mistake:
        rule_set(FILE.replace(old, new, 1))
    said = str(mistake.value)
    assert "\n" not in said
    assert said.startswith(f"rules.yaml, line {line}")
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("content", ["- a\n- b", "just words", "7", "rules: 3", "rules: [3]", "\t- x", "a: b: c"])
def test_files_of_something_else_are_one_line(content):
    with pytest.raises(UserError) as mistake:
        rule_set(content)
    assert "\n" not in str(mistake.value)
    assert "rules.yaml" in str(mistake.value)


def test_a_secret_of_the_wrong_kind_is_not_repeated():
    values, lines = parse_yaml("mqtt: {host: x, password: 41234}", "events.yaml")
    with pytest.raises(UserError, match=r"mqtt\.password: got a value that is not shown") as mistake:
        build(EventsFile, values, lines)
    assert "41234" not in str(mistake.value)


def test_a_rule_that_is_a_word_is_told_what_a_rule_is():
    with pytest.raises(UserError, match=r"rules\[0\]: got 'fall', expected keys and values"):
        rule_set("rules: [fall]")


def test_missing_files_name_the_command_that_writes_one(tmp_path):
    with pytest.raises(UserError, match=r"python -m stream\.events example"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_yaml(tmp_path / "b.yaml")


def test_an_empty_file_has_no_rules():
    values, lines = parse_yaml("", "rules.yaml")
    assert build(RuleSet, values, lines).rules == []


def test_secrets_come_from_the_environment_and_from_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RULE_NAME", "fall")
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "r.yaml").write_text("a: x-${RULE_NAME}\nb: !file secret\n")
    assert read_yaml(tmp_path / "r.yaml")[0] == {"a": "x-fall", "b": "hush"}


@pytest.mark.parametrize(("text", "expected"), [
    (3, 3), ("3", 3.0), ("90s", 90.0), ("500ms", 0.5), ("1.5m", 90.0), ("5min", 300.0), ("2h", 7200.0),
    ("7d", 604800.0),
])
def test_times_are_written_as_people_write_them(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "1.2.3s", "3 weeks", "-3s", True])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="expected a time"):
        seconds(text)


@pytest.mark.parametrize("value", ["-1", "1e400", ".inf", ".nan", "400d"])
def test_times_out_of_range_are_refused(value):
    with pytest.raises(UserError, match=r"rules\.yaml"):
        a_rule("stay", for_=value)


def test_names_are_unique():
    with pytest.raises(UserError, match="'a' twice"):
        rule_set("rules:\n  - {name: a, kind: stay, for: 3}\n  - {name: a, kind: stay, for: 4}\n")


def test_a_bare_list_is_a_set_of_rules():
    assert rule_set("- {name: a, kind: stay, for: 3}\n").rules[0].for_s == 3


def test_a_camera_adds_to_what_holds_for_all_of_them():
    all_of = rule_set("rules:\n  - {name: a, kind: stay, for: 3}\n  - {name: b, kind: stay, for: 3}\n")
    own = rule_set(
        "zones: {hall: [[0, 0], [1, 0], [1, 1]]}\nrules:\n  - {name: a, kind: stay, for: 9, zones: hall}\n"
    )
    both = all_of.with_more(own)
    assert [(r.name, r.for_s) for r in both.rules] == [("b", 3), ("a", 9)]
    assert list(both.zones) == ["hall"]


def test_rules_do_not_change_once_they_are_read():
    with pytest.raises(ValidationError):
        a_rule("stay", for_=3).timezone = "UTC"
