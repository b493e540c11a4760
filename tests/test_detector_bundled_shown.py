"""What a model file says of its labels comes from the figures alone, and its tensors stay."""

import json
import sys

import numpy as np
import pytest
import torch

from detector.bundled import shown
from detector.bundled.record import hidden_classes, working_classes
from detector.bundled.train import bundled_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.weights.model_file import read_action_model, save_action_model
from detector.weights.records import ActionModel


def real(**classes):
    """Figures in which each class, by its name with _ for what is no letter, was right, wrong and begun so often."""
    table = {name.replace("_", "/"): dict(zip(("right", "wrong", "begun"), counts, strict=True))
             for name, counts in classes.items()}
    figures = {"classes": table, "ordinary_s": 120.0, "vtest": {"walk": {"right": 6, "wrong": 0, "missed": 1}}}
    return {"shown": {"steady": figures, "raw": figures}}


@pytest.mark.parametrize(("counts", "works"), [
    ({"jump_leap": (7, 3, 0)}, ("jump/leap",)), ({"jump_leap": (6, 4, 0)}, ()), ({"jump_leap": (9, 0, 0)}, ()),
    # Nobody jumps in ordinary life, and people sit there.
    ({"jump_leap": (90, 0, 3)}, ()), ({"sit": (90, 0, 300)}, ("sit",)),
    # Those of the street count too.
    ({"walk": (4, 4, 9)}, ("walk",)),
])
def test_a_class_is_proven_by_its_precision_and_by_where_it_does_not_begin(counts, works):
    assert working_classes(real(**counts)) == works


@pytest.mark.parametrize(("counts", "hidden"), [
    ({"sit": (1, 2, 0)}, ("sit",)), ({"sit": (2, 3, 0)}, ()), ({"sit": (0, 2, 0)}, ()),
    ({"dance": (0, 3, 0)}, ("dance",)),
])
def test_a_class_is_hidden_where_it_is_wrong_most_times_and_was_seen_often_enough(counts, hidden):
    assert hidden_classes(real(**counts)) == hidden


def test_raw_labels_speak_where_steady_ones_are_too_few():
    figures = real(sit=(0, 9, 0))
    figures["shown"]["steady"] = {**figures["shown"]["steady"], "classes": {"sit": {"right": 1, "wrong": 0}}}
    assert hidden_classes(figures) == ("sit",)


def test_without_figures_nothing_is_proven_and_nothing_hidden():
    assert working_classes({}) == hidden_classes({}) == ()


def test_the_file_gets_thresholds_and_honesty_and_keeps_its_tensors(tmp_path, monkeypatch, capsys):
    path, figures = tmp_path / "my.pt", tmp_path / "real.json"
    config = SlowFastConfig(num_frames=8, alpha=4, width=8, blocks=(1, 1, 1, 1), num_classes=14, lateral_kernel=5)
    model = ActionModel("my", config, bundled_labels(), Sampling(8, 4, 15.0), notes="a test")
    save_action_model(path, model, create_network(config, 1), half=True)
    before = read_action_model(path)[1].state_dict()
    figures.write_text(json.dumps(real(sit=(9, 1, 0), dance=(0, 9, 0))))
    monkeypatch.setattr(sys, "argv", ["shown", str(path), "--real", str(figures)])
    shown.main()
    model, network = read_action_model(path)
    assert model.works_on_real_video == ("sit",)
    assert model.not_shown == ("dance",)
    dance, fall = model.labels.find("dance"), model.labels.find("fall down")
    assert np.isinf(model.default_thresholds()[dance])
    assert model.default_thresholds()[fall] == pytest.approx(shown.COMMON)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert "sit  proven" in capsys.readouterr().out
