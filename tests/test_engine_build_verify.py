"""The judge of engines: hand-worked differences, and engines that lie are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine_build.verify import TOLERANCES, compare, is_trained, refuse, verify

# What the documentation promises, written out: (a score at most, scores on average, features).
LIMITS = {
    "fp32": (1e-3, 1e-4, 1e-3), "fp16": (1e-2, 2e-3, 2e-2), "bf16": (3e-2, 5e-3, 5e-2), "int8": (1e-1, 1e-2, 2e-1),
}


def judge(reference, found, features=None, precision="fp32"):
    features = features or [(np.ones((2, 2)), np.ones((2, 2)))]
    return compare(np.array(reference), np.array(found), features, "engine", precision, "clips")


def test_numbers_of_a_hand_worked_case():
    reference = [[0.9, 0.6, 0.1, 0.4, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.55, 0.6]]
    found = [[0.9, 0.4, 0.1, 0.4, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.61, 0.6]]
    report = judge(reference, found, [(np.array([3.0, 4.0]), np.array([3.0, 4.5]))])
    assert report.score_max == pytest.approx(0.2)
    assert report.score_mean == pytest.approx(0.26 / 12)
    assert report.agreement == pytest.approx(11 / 12)  # 0.6 fell under the threshold
    assert report.top1_same == 0.5  # the second person's best changed
    assert report.top5_overlap == 1.0
    assert report.feature_error == pytest.approx(0.1)
    assert report.feature_max == pytest.approx(0.5)
    assert not report.ok


def test_every_precision_has_its_written_limits():
    assert LIMITS.keys() == TOLERANCES.keys()


@pytest.mark.parametrize("precision", LIMITS)
def test_each_tolerance_refuses_alone(precision):
    score_max, score_mean, feature_error = LIMITS[precision]
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.2, 0.8, (50, 80))
    assert judge(reference, reference, precision=precision).ok
    features = np.ones((4, 4))
    for share, ok in ((0.9, True), (1.1, False)):
        one_off = reference.copy()
        one_off[0, 0] += share * score_max
        assert judge(reference, one_off, precision=precision).ok is ok
        assert judge(reference, reference + share * score_mean, precision=precision).ok is ok
        off = [(features, features * (1 + share * feature_error))]
        assert judge(reference, reference, off, precision).ok is ok


def test_nan_is_never_within_tolerance():
    assert not judge([[0.5, 0.5]], [[0.5, np.nan]], precision="int8").ok
    assert not judge([[0.5]], [[0.5]], [(np.ones(2), np.array([1.0, np.nan]))], "int8").ok


def test_refusal_is_one_line_with_the_numbers():
    text = str(refuse(judge([[0.5, 0.1]], [[0.9, 0.1]])))
    assert "0.4 (allowed 0.001)" in text
    assert "\n" not in text


class Network(torch.nn.Module):
    """The least that `verify` asks of a network."""

    def __init__(self, mean):
        super().__init__()
        self.norm = torch.nn.BatchNorm3d(2)
        self.norm.running_mean.fill_(mean)

    def forward_trunk(self, frames):
        return frames.float().mean((1, 2, 3)) / 255

    def forward_head(self, features, rois):
        return features[rois[:, 0].long()]


class Liar:
    """An engine whose scores are off by a constant, its features by a factor."""

    description, num_classes = "liar", 3

    def __init__(self, network, score=0.0, factor=1.0):
        self.network, self.score, self.factor = network, score, factor

    def run_trunk(self, frames):
        return self.network.forward_trunk(torch.from_numpy(frames)) * self.factor

    def run_head(self, features, rois):
        return (self.network.forward_head(features, torch.from_numpy(rois)) + self.score).numpy()


@pytest.mark.parametrize(
    ("mean", "score", "factor", "ok"),
    [
        (1.0, 0.0, 1.0, True), (1.0, 0.2, 1.0, False), (1.0, 0.0, 1.5, False), (0.0, 0.2, 1.0, True),
        (0.0, 0.0, 1.5, False),
    ],
    ids=["honest", "scores off", "features off", "untrained: scores not held", "untrained: features held"],
)
def test_engines_that_lie_are_caught(mean, score, factor, ok):
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8, 3), dtype=np.uint8)
    rois = np.array([[0, 0, 0, 8, 8], [1, 0, 0, 8, 8]], np.float32)
    network = Network(mean)
    report = verify(Liar(network, score, factor), network, [(frames, rois)], "fp32", "clips")
    assert (report.people, report.clips) == (2, 1)
    assert report.ok is ok
    assert report.trained is is_trained(network) is (mean != 0)
