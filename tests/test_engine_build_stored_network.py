"""Facts of a network's weights: looked up by the file's content, and computed where they are not there or not whole."""

from __future__ import annotations

import json

import pytest

from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.views import FrameView
from detector.weights.model_file import save_action_model
from detector.weights.records import ActionModel
from engine_build import stored_network
from engine_build.build import build_engine, is_built
from engine_build.stored_network import Facts, StoredNetwork, facts_of

SIZE_HW = (64, 80)


@pytest.fixture(scope="module")
def model() -> ActionModel:
    config = SlowFastConfig(num_frames=8, alpha=4, width=16, blocks=(1, 1, 1, 1))
    return ActionModel("tiny", config, load_labels("ava"), Sampling(8, 8), FrameView(64))


def saved(model, path, seed=0):
    network = create_network(model.network, seed=seed).eval()
    save_action_model(path, model, network)
    return network


def nobody_reads(monkeypatch):
    monkeypatch.setattr(stored_network, "load_action_model", lambda *a: pytest.fail("the weights are read"))


def test_facts_are_those_of_the_network_and_need_it_once(model, tmp_path, monkeypatch):
    network = saved(model, tmp_path / "m.pt")
    first = StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts()
    assert first == facts_of(network)
    assert first.parameters == sum(p.numel() for p in network.parameters())
    nobody_reads(monkeypatch)
    assert StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts() == first


def test_other_content_under_the_same_name_has_other_facts(model, tmp_path):
    saved(model, tmp_path / "m.pt")
    first = StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts()
    saved(model, tmp_path / "m.pt", seed=1)
    assert StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts().weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("content", [
    "", "{", "[]", "7", '{"weights_sha256": "ab"}', '{"weights_sha256": 5, "trained": true, "parameters": 3}',
    '{"weights_sha256": "ab", "trained": true, "parameters": 3}', '{"a": ' * 3000, "\0" * 9000,
])
def test_facts_that_are_not_whole_are_computed_again(model, tmp_path, content):
    network = saved(model, tmp_path / "m.pt")
    StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts()
    place = next((tmp_path / "engines").glob("weights-*.json"))
    place.write_text(content)
    assert StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines").facts() == facts_of(network)
    assert Facts(**json.loads(place.read_text())) == facts_of(network)


def test_random_weights_have_no_place(model, tmp_path):
    facts = StoredNetwork(model, None, tmp_path).facts()
    assert not facts.trained
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.ci
def test_an_engine_is_found_without_reading_the_weights(model, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    saved(model, tmp_path / "m.pt")
    wanted = {"size_hw": SIZE_HW, "target": "openvino", "precision": "fp32", "cache_dir": tmp_path / "engines"}
    lines: list[str] = []
    network = StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines")
    build_engine(model, network, report=lines.append, **wanted).close()
    assert any(line.startswith("verified") for line in lines)
    nobody_reads(monkeypatch)
    again = StoredNetwork(model, tmp_path / "m.pt", tmp_path / "engines")
    assert is_built(model, again, **wanted)
    engine = build_engine(model, again, report=lambda line: pytest.fail(line), **wanted)
    assert engine.num_classes == 80
    engine.close()
