"""Compiled graphs that are kept: the same answers, and nothing that does not fit is taken."""

from __future__ import annotations

import numpy as np
import pytest

from detector.weights import compiled
from detector.weights.compiled import compile_kept

OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture
def source(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "factor"
    path.write_text("3")
    return path


class Maker:
    """Makes a graph that multiplies by what the file says; counts how often."""

    def __init__(self, path):
        self.path, self.made = path, 0

    def __call__(self):
        from openvino import Model
        from openvino import opset13 as ops

        self.made += 1
        given = ops.parameter([1, 4], np.float32)
        return Model([ops.multiply(given, np.float32(self.path.read_text()))], [given], "times")


def answer(source, make, **options):
    network = compile_kept("times", (source,), make, {**OPTIONS, **options})
    return network(np.ones((1, 4), np.float32))[0].tolist()


def test_the_second_time_nothing_is_made(source):
    make = Maker(source)
    assert answer(source, make) == answer(source, make) == [[3, 3, 3, 3]]
    assert make.made == 1


def test_other_files_and_options_are_another_graph(source, monkeypatch):
    make = Maker(source)
    answer(source, make)
    answer(source, make, INFERENCE_NUM_THREADS=1)
    assert make.made == 2
    source.write_text("5")
    assert answer(source, make) == [[5, 5, 5, 5]]
    monkeypatch.setattr(compiled.metadata, "version", lambda name: "another")
    answer(source, make)
    assert make.made == 4


@pytest.mark.parametrize("damage", [
    lambda blob: blob[:-7], lambda blob: b"", lambda blob: blob[:40], lambda blob: bytes(len(blob)),
    lambda blob: blob[:200] + bytes([blob[200] ^ 1]) + blob[201:],
])
def test_a_damaged_one_is_made_again(source, tmp_path, damage):
    make = Maker(source)
    answer(source, make)
    (kept,) = (tmp_path / "cache" / "compiled").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert answer(source, make) == [[3, 3, 3, 3]]
    assert make.made == 2
    answer(source, make)
    assert make.made == 2


def test_one_of_another_openvino_of_the_same_name_is_made_again(source, tmp_path):
    make = Maker(source)
    answer(source, make)
    (kept,) = (tmp_path / "cache" / "compiled").iterdir()
    blob = b"built by somebody else" * 9
    kept.write_bytes(compiled.hashlib.sha256(blob).digest() + blob)
    assert answer(source, make) == [[3, 3, 3, 3]]


def test_where_nothing_can_be_kept_it_works_all_the_same(source, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    make = Maker(source)
    assert answer(source, make) == answer(source, make) == [[3, 3, 3, 3]]
    assert make.made == 2
