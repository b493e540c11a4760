"""The cameras' file: what it says is what is meant, and each mistake is one line that tells where and what."""

from pathlib import Path

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("ruamel.yaml")

from stream_fakes import LABELS

from detector.errors import UserError
from stream.service.mistakes import Mistakes
from stream.service.names import actions_of, check_names, thresholds_of
from stream.service.reading import read_cameras

GOOD = """\
defaults:
  every: 1
  motion: {sensitivity: low, still_every: 3}
  thresholds: {all: 0.5}
cameras:
  door:
    source: rtsp://admin:${PASSWORD}@host/one
    every: 0.25
    motion: {sensitivity: high}
  yard:
    source: 0
    masks: [[[0, 0], [0.5, 0], [0.5, 1]]]
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "cameras.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lines_of(path, environ=None) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        read_cameras(path, environ or {})
    return [line.split(f"{path.name}:", 1)[1] for line in caught.value.lines]


def test_a_camera_overrides_the_defaults_key_by_key(write):
    cameras = read_cameras(write(GOOD), {"PASSWORD": "p:w"}).file.cameras
    door, yard = cameras["door"], cameras["yard"]
    assert door.source.get_secret_value() == "rtsp://admin:p:w@host/one"
    assert (door.every, door.motion.sensitivity, door.motion.still_every) == (0.25, "high", 3)
    assert (yard.every, yard.motion.sensitivity, yard.source.get_secret_value()) == (1, "low", "0")
    assert yard.masks == [[(0, 0), (0.5, 0), (0.5, 1)]]
    assert "p:w" not in repr(cameras)


def test_a_secret_is_read_from_a_file_beside_the_description(write):
    write("0123456789abcdef\n", "token")
    path = write("server: {token: !file token}\ncameras: {a: {source: x}}")
    described = read_cameras(path, {})
    assert described.file.server.token.get_secret_value() == "0123456789abcdef"
    assert [p.name for p in described.files] == ["cameras.yaml", "token"]


@pytest.mark.parametrize(("text", "line", "words"), [
    ("cameras:\n  a:\n    source: x\n    evry: 1", 4, ["cameras.a.evry", "unknown key 'evry'", "perhaps every"]),
    ("cameras:\n  a:\n    source: x\n    every: fast", 4, ["'fast'", "expected seconds between answers"]),
    ("cameras:\n  a:\n    source: x\n    every: true", 4, ["got true", "expected seconds"]),
    ("cameras:\n  a:\n    source: x\n    every: -1", 4, ["got -1", "above 0"]),
    ("cameras:\n  a:\n    source: x\n    every: .nan", 4, ["got nan", "above 0"]),
    ("cameras:\n  a:\n    source: x\n    blur: face", 4, ["'face'", "people or faces", "perhaps faces?"]),
    ("cameras:\n  a:\n    source: x\n    masks:\n      - [[0, 0], [1, 2], [1, 1]]", 5, ["masks[0][1][1]", "got 2"]),
    ("cameras:\n  a:\n    source: x\n    schedule: [sometimes]", 4, ["'sometimes'", "mon-fri 08:00-18:00"]),
    ("cameras:\n  a:\n    source: x\n    source: y", 4, ["source: is there twice"]),
    ("cameras:\n  a: {source: x}\n  a: {source: y}", 3, ["a: is there twice"]),
    ("cameras:\n  a:\n    every: 1", 2, ["cameras.a.source: is missing", "rtsp://"]),
    ("cameras:\n  a:", 2, ["cameras.a.source: is missing"]),
    ("cameras:\n  a: 5", 2, ["cameras.a: got 5", "expected keys: source"]),
    ("cameras:\n  a b: {source: x}", 2, ["'a b'", "letters, digits"]),
    ("cameras: {}", 1, ["one entry a camera"]),
    ("server: {port: 99999}\ncameras: {a: {source: x}}", 1, ["server.port: got 99999", "0 to 65535"]),
    ("cameras:\n  a: {source: x}\nserver:\n  host: 0.0.0.0", 4, ["server.token: none", "0.0.0.0"]),
    ("\ncameras:\n  a: {source: '${NOWHERE}'}", 3, ["${NOWHERE} is not in the environment"]),
    ("\ncameras:\n  a: {source: !file nowhere}", 3, ["nowhere cannot be read (No such file or directory)"]),
    ("\ncameras:\n  a: {source: !exec rm}", 3, ["got !exec", "!file PATH"]),
    ("a: [b", 1, ["not YAML"]),
    ("- a", 1, ["got a list", "defaults, server, events, cameras"]),
    ("", 1, ["got nothing"]),
])
def test_a_mistake_is_one_line_with_its_place(write, text, line, words):
    (message,) = lines_of(write(text))
    assert message.startswith(f"{line}: ")
    for word in words:
        assert word in message
    assert "\n" not in message


def test_a_mistake_in_the_defaults_is_told_once_where_it_stands(write):
    lines = lines_of(write("defaults:\n  evry: 1\ncameras:\n  a: {source: x}\n  b: {source: y}"))
    assert len(lines) == 1
    assert lines[0].startswith("2: defaults.evry")


def test_all_mistakes_are_told_in_the_order_of_the_file(write):
    lines = lines_of(write("cameras:\n  a:\n    source: x\n    every: no\n  b:\n    source: x\n    bluhr: none"))
    assert [int(line.split(":")[0]) for line in lines] == [4, 7]


@pytest.mark.parametrize("text", [
    "cameras:\n  a: {source: [topsecret]}",
    "cameras:\n  a: {source: rtsp://a:topsecret@h/x, source: rtsp://a:topsecret@h/y}",
    "cameras:\n  a: {source: x, model: {a: topsecret}}",
    "server: {token: topsecret}\ncameras: {a: {source: x}}",
    "cameras:\n  a: {source: x, every: '${S}'}",
    "cameras:\n  a: {source: x, blur: '${S}'}",
    "defaults: {every: '${S}'}\ncameras:\n  a: {source: x}",
])
def test_no_secret_is_repeated_in_a_mistake(write, text):
    assert not [line for line in lines_of(write(text), {"S": "topsecret"}) if "topsecret" in line]


def test_no_file_says_how_to_write_one(tmp_path):
    with pytest.raises(UserError, match=r"no such file.*--example"):
        read_cameras(tmp_path / "none.yaml")


def test_the_example_is_understood_and_needs_no_camera():
    from stream.service import reading

    example = Path(reading.__file__).with_name("example.yaml")
    assert list(read_cameras(example, {}).file.cameras) == ["sample"]


def test_unknown_actions_models_and_detectors_are_mistakes_with_their_lines(write):
    path = write(
        "cameras:\n  a:\n    source: x\n    thresholds: {walk: 0.5, wlak: 0.5, all: 0.2}\n    actions: [sit, fly]\n"
        "  b: {source: x, model: nothing}\n  c: {source: x, detector: ssdlight}\n"
    )

    def labels(model):
        if model == "nothing":
            raise UserError("model 'nothing': unknown")
        return LABELS

    with pytest.raises(Mistakes) as caught:
        check_names(read_cameras(path, {}), labels)
    lines = [line.split(f"{path.name}:", 1)[1] for line in caught.value.lines]
    assert [line.split(":")[0] for line in lines] == ["4", "5", "6", "7"]
    assert "'wlak'" in lines[0]
    assert "walk" in lines[0].partition("'wlak'")[2]
    assert "'fly'" in lines[1]
    assert "cameras.b.model" in lines[2]
    assert "perhaps ssdlite?" in lines[3]


def test_thresholds_and_actions_become_columns(write):
    text = "cameras:\n  a: {source: x, thresholds: {walk: 0.9, all: 0.2}, actions: [walk, '11']}"
    camera = read_cameras(write(text), {}).file.cameras["a"]
    assert thresholds_of(camera, LABELS).tolist() == pytest.approx([0.2, 0.2, 0.9])
    assert actions_of(camera, LABELS) == [0, 2]
