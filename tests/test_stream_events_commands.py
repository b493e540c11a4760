"""The commands as a person uses them: list, show, export, mark, example, check, replay, and webcam --events."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import av
import pytest
from events_fakes import an_event
from stream_fakes import FakeTracker, fake_session

from detector.data.problems import Problems
from detector.data.samples import read_samples
from detector.errors import UserError, run_command
from detector.labels import load_labels
from stream import webcam
from stream.events import __main__ as events_command
from stream.events.answers_file import read_answers
from stream.events.config import load_events_file
from stream.events.engine import check_actions
from stream.events.hard_cases import export_hard_cases, is_hard
from stream.events.listing import moment
from stream.events.records import EventChange, Reason
from stream.events.store import Store, Written
from stream.events.watched import camera_name


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run `python -m stream.events WORDS` in an empty folder; gives (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLOWFAST_DATA", str(tmp_path / "data"))

    def command(*words):
        code = run_command(lambda: events_command.main([str(w) for w in words]))
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def kept(run, tmp_path):
    """Three events in the data folder."""
    store = Store(str(tmp_path / "data" / "events.db"))
    why = (Reason(1.0, "score of fall down", 0.9, 0.6, "over"),)
    for number, (camera, action, utc) in enumerate([
        ("door", "fall down", 1e9), ("yard", "walk", 1e9 + 100), ("door", "stand", None)
    ], start=1):
        event = an_event(
            id=f"e{number}", camera=camera, action=action, start_utc=utc, end_s=3.0, why=why, source="door.mp4",
            peak_s=2.0,
        )
        store.write([Written(EventChange("start", event))])
    store.close()


def test_a_table_of_events(run, kept):
    code, out, _ = run("list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["id", "when", "camera", "what", "zone", "for", "peak"]
    assert [line.split()[0] for line in lines[1:]] == ["e1", "e2", "e3"]
    assert "fall: fall down" in lines[1]
    assert "2.0 s" in lines[1]


@pytest.mark.parametrize(("words", "ids"), [
    (["--camera", "door"], ["e1", "e3"]), (["--action", "walk", "--action", "stand"], ["e2", "e3"]),
    (["--since", "2h"], ["e3"]), (["--until", "2001-09-09T12:00"], ["e1", "e2"]), (["--most", "1"], ["e3"]),
    (["--marked", "wrong"], []),
])
def test_events_are_chosen(run, kept, words, ids):
    code, out, _ = run("list", "--format", "jsonl", *words)
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ids


def test_csv_and_ava_are_read_by_others(run, kept, tmp_path):
    _, out, _ = run("list", "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert (rows[0]["id"], rows[0]["camera"], rows[0]["peak_score"]) == ("e1", "door", "0.9")
    assert run("export", "--format", "ava", "--output", "a.csv")[0] == 0
    assert Path("a.csv").read_text().splitlines()[0] == "door.mp4,0002.000,0.1000,0.2000,0.3000,0.8000,5,0.9000"


def test_show_tells_why(run, kept):
    code, out, _ = run("show", "e1")
    assert code == 0
    assert "1.00 s: score of fall down 0.90 >= 0.60" in out
    assert "door" in out


@pytest.mark.parametrize("words", [
    ["show", "nope"], ["show", "e"], ["list", "--since", "yesterday"], ["list", "--store", "none.db"],
    ["mark", "nope", "wrong"], ["mark", "e1", "right", "--really", "walk"], ["mark", "e1", "wrong", "--really", "zzz"],
    ["example", "nope"], ["check", "none.yaml"], ["replay", "none.mp4", "--rules", "none.yaml"],
])
def test_a_mistake_is_one_line_and_exit_code_2(run, kept, words):
    code, out, error = run(*words)
    assert code == 2
    assert out == ""
    assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1


def test_without_events_it_says_how_to_get_some(run):
    code, _, error = run("list")
    assert code == 2
    assert "stream.webcam --events" in error


@pytest.mark.parametrize("name", events_command.examples())
def test_every_example_is_a_good_file(run, tmp_path, name):
    code, out, _ = run("example", name)
    assert code == 0
    path = tmp_path / "rules.yaml"
    path.write_text(out)
    config, _ = load_events_file(path)
    assert config.rules
    assert check_actions(config, load_labels("ava")) == []
    assert out.startswith("# ")


def test_what_is_commented_out_in_the_full_example_is_right_too(run, tmp_path, monkeypatch):
    _, out, _ = run("example", "everything")
    monkeypatch.setenv("MQTT_PASSWORD", "a")
    monkeypatch.setenv("HOOK_SECRET", "b")
    (tmp_path / "telegram.txt").write_text("json://localhost")
    head, tail = out.split("# mqtt:", 1)
    lines = ["mqtt:" + tail.splitlines()[0]] + [line.removeprefix("# ") for line in tail.splitlines()[1:]]
    (tmp_path / "rules.yaml").write_text(head + "\n".join(lines))
    config, _ = load_events_file(tmp_path / "rules.yaml")
    assert config.mqtt.password.get_secret_value() == "a"
    assert [tell.name for tell in config.tell] == ["phone", "house"]
    assert config.tell[0].at_most == (5, 600.0)


@pytest.mark.parametrize(("text", "words"), [
    ("mqtt: {hots: x}", ["mqtt.hots", "host"]), ("mqtt: {host: x, version: 4}", ["mqtt.version", "'4'"]),
    ("tell: [{name: a}]", ["tell[0]", "either `apprise` or `webhook`"]),
    ("tell: [{name: a, webhook: ftp://hush}]", ["tell[0].webhook", "https://"]),
    ("tell: [{name: a, webhook: http://h, at_most: lots}]", ["tell[0].at_most", "5 per 10m"]),
    ("tell: [{name: a, webhook: http://h, rules: [x]}]", ["tell[0].rules[0]", "'x'"]),
    ("tell: [{name: a, webhook: http://h}, {name: a, webhook: http://h}]", ["tell[1].name", "taken"]),
    ("films: {keep_gb: 0}", ["films.keep_gb", "greater than 0"]), ("store: {keep: x}", ["store.keep", "30s"]),
])
def test_mistakes_about_where_events_go(run, tmp_path, text, words):
    (tmp_path / "r.yaml").write_text(f"rules: []\n{text}\n")
    with pytest.raises(UserError) as mistake:
        load_events_file(tmp_path / "r.yaml")
    said = str(mistake.value)
    assert "r.yaml, line 2" in said
    assert "hush" not in said
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(("text", "expected"), [
    ("2h", 1e9 - 7200), ("90", 1e9 - 90), ("7d", 1e9 - 604800), ("2001-09-09T01:46:40+00:00", 1e9),
])
def test_moments(text, expected):
    assert moment(text, 1e9) == expected


def a_film(path: Path, seconds: int = 4) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10 * seconds):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))


def test_hard_cases_are_what_fine_tuning_reads(tmp_path):
    """Independent truth: the reader of training data itself."""
    films = tmp_path / "films"
    films.mkdir()
    limit = (Reason(1.0, "score of fall down", 0.62, 0.6, "over"),)
    base = an_event(end_s=3.0, start_s=1.0, peak_s=1.5, film_lead_s=1.0, why=limit)
    events = [
        replace(base, id="near", peak_score=0.65), replace(base, id="sure", peak_score=0.95),
        replace(base, id="right", peak_score=0.95), replace(base, id="walked", peak_score=0.99),
        replace(base, id="nothing", peak_score=0.99), replace(base, id="gone", peak_score=0.61),
    ]
    events = [replace(event, film=f"{event.id}.mp4") for event in events]
    for event in events[:-1]:
        a_film(films / event.film)
    marks = {"right": "right", "walked": "wrong:walk", "nothing": "wrong"}
    assert export_hard_cases(events, marks, films, tmp_path / "hard") == (2, 2, 1)
    rows = list(csv.reader((tmp_path / "hard" / "to_label.csv").open()))
    assert [(row[0], row[6]) for row in rows] == [("near.mp4", "fall down"), ("nothing.mp4", "fall down")]
    samples = read_samples(
        tmp_path / "hard" / "labels.csv", load_labels("ava"), lambda name: tmp_path / "hard" / name, Problems(False)
    )
    ava = load_labels("ava")
    said = {s.source.stem: ava[int(s.targets[0].argmax())].name for s in samples}
    assert said == {"right": "fall down", "walked": "walk"}
    assert {s.time_s for s in samples} == {1.5}
    assert samples[0].boxes[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.8])


@pytest.mark.parametrize(("peak", "mark", "hard"), [
    (0.65, "", True), (0.95, "", False), (0.95, "right", True), (0.95, "wrong:walk", True),
])
def test_what_is_hard(peak, mark, hard):
    event = an_event(peak_score=peak, why=(Reason(1.0, "score of fall down", peak, 0.6, "over"),))
    assert is_hard(event, mark) is hard


# ---- webcam and replay, with networks that are fakes: everybody stands, sits and walks with the same score ----------

RULES = """\
rules:
  - {name: stands, kind: action, action: stand, over: 0.05, for: 1s}
  - {name: here, kind: stay, for: 1s}
"""


@pytest.fixture
def fakes(monkeypatch, run):
    monkeypatch.setattr(webcam, "_display", lambda: False)
    monkeypatch.setattr("detector.tracking.Tracker", FakeTracker)
    for place in ("stream.webcam.open_session", "stream.session.open_session"):
        monkeypatch.setattr(place, lambda *a, **k: fake_session()[0])
    Path("rules.yaml").write_text(RULES)

    def watch(*words) -> int:
        return run_command(lambda: webcam.main([str(w) for w in words]))

    return watch


def test_webcam_keeps_films_and_lists_events(fakes, run, write_video, capsys):
    video = write_video(frames=40, fps=10)
    assert fakes("--source", video, "--events", "rules.yaml") == 0
    said = capsys.readouterr().err
    assert "clip: #1 stand, " in said
    assert "2 events in" in said
    _, out, _ = run("list", "--format", "jsonl")
    events = [json.loads(line) for line in out.splitlines()]
    assert [(e["rule"], e["camera"], e["source"]) for e in events] == [("stands", "clip", "clip.mp4"),
                                                                       ("here", "clip", "clip.mp4")]
    for event in events:
        assert event["ended_because"] == "end of stream"
        assert event["seconds"] > 2
        film = Path("data/films") / event["film"]
        with av.open(str(film)) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 35
        assert (Path("data/films") / event["snapshot"]).exists()


def test_webcam_films_a_live_source_from_its_own_packets(fakes, run, write_video):
    video = write_video(frames=60, fps=10)
    assert fakes("--source", video, "--live", "--events", "rules.yaml", "--jsonl", "a.jsonl") == 0
    _, out, _ = run("list", "--format", "jsonl")
    events = [json.loads(line) for line in out.splitlines()]
    assert len(events) == 2
    for event in events:
        assert event["start_utc"]
        with av.open(str(Path("data/films") / event["film"])) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 30


@pytest.mark.parametrize(("text", "words"), [
    ("rules: [{name: a, kind: action, action: swim}]", ["line 1", "swim", "three"]),
    ("rules: [{name: a, kind: nope}]", ["line 1", "nope"]),
])
def test_webcam_says_what_is_wrong_with_the_rules(fakes, write_video, capsys, text, words):
    Path("rules.yaml").write_text(text)
    assert fakes("--source", write_video(), "--events", "rules.yaml") == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert [word for word in words if word not in error] == []


def test_replay_writes_events_overlay_plot_and_answers(fakes, run, write_video):
    video = write_video(frames=40, fps=10)
    code, _, said = run("replay", video, "--rules", "rules.yaml", "--jsonl", "e.jsonl", "--overlay", "o.mp4",
                        "--plot", "p.png", "--answers", "a.jsonl")
    assert code == 0, said
    assert "2 events" in said
    changes = [json.loads(line) for line in Path("e.jsonl").read_text().splitlines()]
    assert [(c["type"], c["rule"]) for c in changes if c["type"] != "update"] == [
        ("start", "stands"), ("start", "here"), ("end", "stands"), ("end", "here"),
    ]
    with av.open("o.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 40
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    # The same events from the kept answers, without a film and without a network.
    code, out, _ = run("replay", "a.jsonl", "--rules", "rules.yaml", "--jsonl", "-")
    assert code == 0
    again = [json.loads(line) for line in out.splitlines()]
    fields = ("type", "rule", "start_s", "told_s", "end_s", "peak_s")
    assert [[c[f] for f in fields] for c in again] == [[c[f] for f in fields] for c in changes]


def test_replay_says_why_nothing_happened(fakes, run, write_video):
    Path("rules.yaml").write_text("rules: [{name: stands, kind: action, action: stand, over: 0.99}]")
    code, _, said = run("replay", write_video(frames=20), "--rules", "rules.yaml")
    assert code == 0
    assert "no event" in said
    assert "score of stand of #1 reached 0." in said


@pytest.mark.parametrize("text", [
    "", "nonsense", "{}", '{"schema": 2}',
    '{"schema": 1, "time_s": 1, "size": [4, 4], "people": [{"id": 1}], "model": "m", "untrained": false}',
])
def test_what_are_no_answers_is_one_line(tmp_path, text):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    if not text:
        assert list(read_answers(path)) == []
        return
    with pytest.raises(UserError, match=r"a\.jsonl, line 1"):
        list(read_answers(path))


@pytest.mark.parametrize(("spec", "name"), [
    (None, "camera 0"), ("2", "camera 2"), ("/dev/video1", "video1"), ("films/Door cam.mp4", "Door cam"),
    ("rtsp://me:hush@10.0.0.3:554/door/1?key=hush", "@10.0.0.3:554_door_1_key"), ("sample", "sample"),
])
def test_cameras_get_names_without_credentials(spec, name):
    assert camera_name(spec) == name
