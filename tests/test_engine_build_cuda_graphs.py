"""Recorded functions, on a stand-in: few sizes serve every batch, what cannot be recorded still runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine_build import run_torch
from engine_build.cuda_graphs import MAX_GRAPHS, Graphed, filled_batch
from engine_build.run_torch import MODES, TorchEngine
from tests.test_engine_build_rewrite import network_with_statistics


class StandIn:
    """Captures by keeping the work, and replays by doing it into the memory that the recording used, as CUDA does."""

    def __init__(self, works: bool = True) -> None:
        self.works, self.captures, self.replays = works, 0, 0

    def __call__(self, run):
        if not self.works:
            raise RuntimeError("operation not permitted when stream is capturing\nmore about it")
        self.captures += 1
        memory = run()

        def replay():
            self.replays += 1
            memory.copy_(run())

        return memory, replay


def double(x: torch.Tensor) -> torch.Tensor:
    return x.float() * 2


@pytest.mark.parametrize(("count", "expected"), [
    (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (9, 16), (16, 16), (17, 32), (32, 32), (33, 48),
])
def test_batches_are_filled_to_few_sizes(count, expected):
    assert filled_batch(count) == expected


def test_every_number_of_people_gets_its_own_answer():
    stand_in = StandIn()
    graphed = Graphed(double, stand_in)
    for count in (3, 4, 1, 3, 2, 4):
        x = torch.randint(0, 256, (count, 5), dtype=torch.uint8)
        assert torch.equal(graphed(x), double(x))
    assert stand_in.captures == 3  # 4, 1 and 2
    assert stand_in.replays == 6


def test_an_empty_batch_is_not_recorded():
    stand_in = StandIn()
    assert Graphed(double, stand_in)(torch.zeros((0, 5), dtype=torch.uint8)).shape == (0, 5)
    assert stand_in.captures == 0


def test_the_oldest_recording_makes_room():
    stand_in = StandIn()
    graphed = Graphed(double, stand_in)
    for width in range(1, MAX_GRAPHS + 3):
        graphed(torch.zeros(1, width))
    assert len(graphed._recorded) == MAX_GRAPHS
    graphed(torch.zeros(1, 1))
    assert stand_in.captures == MAX_GRAPHS + 3


def test_what_cannot_be_recorded_runs_and_says_so_once(caplog):
    graphed = Graphed(double, StandIn(works=False))
    x = torch.arange(3)
    for _ in range(2):
        assert torch.equal(graphed(x), double(x))
    assert [r.message for r in caplog.records] == [
        "CUDA graphs are left out, which costs speed alone: operation not permitted when stream is capturing"
    ]


def test_too_little_memory_is_not_taken_for_that():
    def capture(run):
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        Graphed(double, capture)(torch.zeros(1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_mode_gives_the_networks_features(mode, precision, one_thread):
    network = network_with_statistics()
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 48, 3), dtype=np.uint8)
    engine = TorchEngine(network, precision, mode=mode, compiler="eager")
    with torch.inference_mode():
        expected = network.forward_trunk(torch.from_numpy(frames))
    for given in (frames, torch.from_numpy(frames)):
        found = engine.run_trunk(given)
        assert (found.float() - expected).norm() < (1e-3 if precision == "fp32" else 5e-2) * expected.norm()
    engine.close()
    engine.close()


def test_a_compiler_that_fails_costs_speed_alone(caplog, monkeypatch):
    def compiled(function, **options):
        def call(frames):
            raise RuntimeError("no C compiler\nat length")

        return call

    monkeypatch.setattr(run_torch.torch, "compile", compiled)
    network = network_with_statistics()
    engine = TorchEngine(network, mode="compiled")
    frames = np.zeros((1, 8, 32, 48, 3), np.uint8)
    for _ in range(2):
        assert torch.isfinite(engine.run_trunk(frames)).all()
    assert [r.message for r in caplog.records] == ["torch.compile is left out, which costs speed alone: no C compiler"]
