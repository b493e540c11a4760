"""The loop: exact resume, equal parts, guards. Networks are tiny and seeded; clips are random pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.training import precision
from detector.training.checkpoints import read_checkpoint
from detector.training.journal import read_log
from detector.training.loop import train
from detector.training.recipe import Execution, Recipe

TINY = SlowFastConfig(num_frames=4, alpha=2, width=8, blocks=(1, 1, 1, 1), num_classes=2, beta_inv=4)
QUIET = Execution(device="cpu", threads=1, progress=False, log_every=1, checkpoint_every=3)


class Clips:
    """Bright or dark clips with one or two boxes; augmented by numpy's global generator."""

    def __init__(self, length: int = 12, on_item=None):
        self.length, self.on_item, self.items = length, on_item, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        self.items += 1
        if self.on_item:
            self.on_item(self.items)
        bright = index % 2
        frames = np.random.randint(0, 100, (4, 32, 32, 3)).astype(np.uint8) + np.uint8(120 * bright)
        boxes = np.array([[2, 2, 28, 28], [4, 0, 30, 20]], np.float32)[: 1 + index % 3 // 2]
        target = [bright, np.nan if index % 5 == 0 else 1 - bright]
        return frames, boxes, np.tile(np.array(target, np.float32), (len(boxes), 1))


def run(folder, dataset=None, recipe=None, **more):
    network = create_network(TINY, seed=1)
    recipe = recipe or Recipe(rate=0.02, steps=8, batch=4, warmup_steps=2, ema_decay=0.9, seed=5)
    state = train(network, dataset or Clips(), recipe, folder, execution=more.pop("execution", QUIET), **more)
    return network, state


def weights_of(network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def send_ctrl_c_at(item: int):
    def on_item(count: int) -> None:
        if count == item:
            os.kill(os.getpid(), signal.SIGINT)

    return on_item


@pytest.mark.parametrize("item", [1, 18, 26])
def test_a_run_stopped_by_ctrl_c_goes_on_as_if_never_stopped(tmp_path, item):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Clips(on_item=send_ctrl_c_at(item)))
    stopped_at = read_checkpoint(tmp_path / "cut/last.pt")["state"]["step"]
    assert stopped_at == (item - 1) // 4 + 1, "the update under way is finished, no more"
    resumed, state = run(tmp_path / "cut")
    assert state.step == 8
    assert_same(weights_of(resumed), weights_of(whole))
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")


def test_a_run_that_crashed_between_checkpoints_goes_on_as_if_never_crashed(tmp_path):
    def crash(count: int) -> None:
        if count == 22:
            raise MemoryError

    whole, _ = run(tmp_path / "whole")
    with pytest.raises(MemoryError):
        run(tmp_path / "cut", Clips(on_item=crash))
    assert read_checkpoint(tmp_path / "cut/last.pt")["state"]["step"] == 3
    resumed, _ = run(tmp_path / "cut")
    assert_same(weights_of(resumed), weights_of(whole))
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")


def test_ctrl_c_in_a_validation_saves_and_stops_at_once(tmp_path):
    calls = []

    def validate(network):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")
        return {"mAP": 0.5}

    recipe = Recipe(rate=0.02, steps=4, batch=4, validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recipe=recipe, validate=validate)
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 2
    assert run(tmp_path, recipe=recipe, validate=validate)[1].best == 0.5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_an_update_after_a_validation_finishes_the_update(tmp_path):
    """Stopping at once is for validations alone; in an update it would throw the update away."""
    recipe = Recipe(rate=0.02, steps=6, batch=4, validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Clips(on_item=send_ctrl_c_at(10)), recipe, validate=lambda network: {"mAP": 0.5})
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 3


def test_of_equal_validations_the_later_is_kept_and_told(tmp_path, capsys):
    class Validation:
        note = "mAP over 1 of 2 classes"

        def __call__(self, network):
            return {"mAP": 1.0}

    recipe = Recipe(rate=0.02, steps=6, batch=4, validate_every=2, schedule="plateau", patience=2)
    _, state = run(tmp_path, recipe=recipe, validate=Validation(),
                   execution=replace(QUIET, progress=True))
    assert (state.best, state.best_step) == (1.0, 6)
    assert read_checkpoint(tmp_path / "best.pt")["step"] == 6
    assert state.plateau_drops == 1, "an equal figure is no improvement"
    assert "mAP 1.0000 (mAP over 1 of 2 classes)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ci
def test_loading_in_other_processes_changes_nothing(tmp_path):
    alone, _ = run(tmp_path / "alone")
    helped, _ = run(tmp_path / "helped", execution=Execution(device="cpu", threads=1, progress=False, workers=2))
    assert_same(weights_of(helped), weights_of(alone))


def test_a_batch_in_parts_gives_what_the_whole_gives(tmp_path):
    numbers = {"rate": 0.02, "steps": 4, "batch": 4, "norm": "frozen", "seed": 3}
    no_dropout = SlowFastConfig(**{**vars(TINY), "dropout": 0.0})
    results = []
    for parts in (1, 2, 4):
        network = create_network(no_dropout, seed=1)
        train(network, Clips(), Recipe(**numbers, accumulation=parts), tmp_path / str(parts), execution=QUIET)
        results.append(weights_of(network))
    start = weights_of(create_network(no_dropout, seed=1))
    assert largest_difference(results[0], start) > 1e-2
    assert largest_difference(results[0], results[1]) < 1e-6
    assert largest_difference(results[0], results[2]) < 1e-6


TWO_PROCESSES = """
    import sys, torch
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_detector_training_loop import *
    network = create_network(SlowFastConfig(**{{**vars(TINY), "dropout": 0.0}}), seed=1)
    losses = []
    train(network, Clips(), Recipe(rate=0.02, steps=4, batch=4, norm="frozen", seed=3, ema_decay=0.5),
          Path({folder!r}), execution=QUIET, validate=lambda n: {{"mAP": 0.5}})
    torch.save(network.state_dict(), Path({folder!r}) / f"weights{{os.environ.get('RANK', '')}}.pt")
"""


def run_processes(folder, count: int) -> list[dict[str, torch.Tensor]]:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(textwrap.dedent(TWO_PROCESSES).format(tests=os.path.dirname(__file__), folder=str(folder)))
    port = str(20000 + os.getpid() % 20000)
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    processes = [
        subprocess.Popen([sys.executable, str(script)], env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    try:
        assert [p.wait(timeout=120) for p in processes] == [0] * count
    finally:
        for p in processes:
            p.kill()
    return [torch.load(folder / f"weights{rank}.pt") for rank in range(count)]


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_give_what_one_gives_with_the_double_batch(tmp_path):
    """Batch norm is frozen and dropout off: otherwise, as in the paper, each process sees only its own part."""
    network = create_network(SlowFastConfig(**{**vars(TINY), "dropout": 0.0}), seed=1)
    recipe = Recipe(rate=0.02, steps=4, batch=4, norm="frozen", seed=3, ema_decay=0.5)
    train(network, Clips(), recipe, tmp_path / "one", execution=QUIET, validate=lambda n: {"mAP": 0.5})
    first, second = run_processes(tmp_path / "two", 2)
    assert_same(first, second)
    start = weights_of(create_network(SlowFastConfig(**{**vars(TINY), "dropout": 0.0}), seed=1))
    assert largest_difference(first, start) > 1e-2
    assert largest_difference(first, weights_of(network)) < 1e-6
    losses = [[line["loss"] for line in read_log(tmp_path / name) if "loss" in line] for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_a_bad_loss_is_left_out_and_counted(tmp_path):
    calls = []

    def loss(logits, targets):
        calls.append(1)
        return logits.sum() * (float("nan") if len(calls) == 3 else 1.0), torch.tensor(logits.numel())

    network, state = run(tmp_path, loss=loss)
    assert state.skipped == 1
    assert state.step == 8
    assert all(value.isfinite().all() for value in weights_of(network).values())


def test_a_diverged_run_stops_with_advice(tmp_path):
    with pytest.raises(UserError, match=r"not a number 5 times in a row up to step 5.*lower"):
        run(tmp_path, loss=lambda logits, targets: (logits.sum() * float("inf"), torch.tensor(1)))


def test_clips_without_people_are_no_reason_to_stop(tmp_path):
    class Empty(Clips):
        def __getitem__(self, index):
            frames, _, _ = super().__getitem__(index)
            return frames, np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32)

    network, state = run(tmp_path, Empty(), Recipe(rate=0.02, steps=3, batch=2, norm="frozen", weight_decay=0.1))
    assert (state.step, state.skipped) == (3, 0)
    assert_same(weights_of(network), weights_of(create_network(TINY, seed=1)))


def test_the_best_validation_is_kept_whatever_comes_after(tmp_path):
    figures, seen = iter([0.2, 0.9, 0.4]), []

    def validate(network):
        assert not network.training
        seen.append(weights_of(network))
        return {"mAP": next(figures), "other": 0.0}

    network, state = run(tmp_path, recipe=Recipe(rate=0.02, steps=6, batch=4, validate_every=2), validate=validate)
    assert (state.best, state.best_step) == (0.9, 4)
    assert_same(weights_of(network), seen[1])
    assert read_checkpoint(tmp_path / "best.pt")["metrics"] == {"mAP": 0.9, "other": 0.0}
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.ci
def test_the_plateau_lowers_the_rate_when_validation_saturates(tmp_path):
    recipe = Recipe(rate=0.1, steps=8, batch=4, schedule="plateau", patience=2, validate_every=1, factor=0.1)
    figures = iter([0.5, 0.4, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6])
    run(tmp_path, recipe=recipe, validate=lambda network: {"mAP": next(figures)})
    rates = [line["rate"] for line in read_log(tmp_path) if "rate" in line]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001])


def test_a_metric_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="best_metric is 'mAP', but the validation gives top1"):
        run(tmp_path, validate=lambda network: {"top1": 0.5})


def test_a_folder_with_another_run_is_refused(tmp_path):
    run(tmp_path, recipe=Recipe(rate=0.02, steps=2, batch=4))
    with pytest.raises(UserError, match=r"rate: 0.02 -> 0.03"):
        run(tmp_path, recipe=Recipe(rate=0.03, steps=2, batch=4))
    with pytest.raises(UserError, match=r"clips: 12 -> 13"):
        run(tmp_path, Clips(13), recipe=Recipe(rate=0.02, steps=2, batch=4))


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04half"])
def test_a_broken_checkpoint_is_named(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt: cannot be read"):
        run(tmp_path)


def test_frozen_parts_stay_and_rates_scale(tmp_path):
    recipe = Recipe(rate=0.05, steps=3, batch=4, frozen=("s1.*", "s2.*"), rate_factors=(("head.*", 0.0),))
    network, _ = run(tmp_path, recipe=recipe)
    before, after = weights_of(create_network(TINY, seed=1)), weights_of(network)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed.isdisjoint({"s1", "s2", "head"})
    assert {"s3", "s5", "s2_fuse"} <= changed


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'trunk\.\*' fits no parameter"):
        run(tmp_path, recipe=Recipe(frozen=("trunk.*",)))


class LongerClips(Clips):
    def __getitem__(self, index):
        frames, boxes, targets = super().__getitem__(index)
        return np.repeat(frames, 2, axis=0), boxes, targets


@pytest.mark.slow
@pytest.mark.ci
def test_the_loss_falls_with_bf16_and_moving_average(tmp_path):
    recipe = Recipe(rate=0.05, steps=20, batch=4, precision="bf16", ema_decay=0.9, clip_norm=5.0)
    run(tmp_path, LongerClips(), recipe)
    losses = [line["loss"] for line in read_log(tmp_path)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_bf16_is_refused_where_this_cpu_would_train_on_garbage(tmp_path):
    with pytest.raises(UserError, match=r"kernel of 5 over 4 frames; use precision=fp32"):
        run(tmp_path, recipe=Recipe(rate=0.05, steps=2, batch=4, precision="bf16"))


KILLED = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_detector_training_loop import *
    run(Path({folder!r}), Clips(on_item=lambda count: time.sleep(0.01)),
        Recipe(rate=0.02, steps=60, batch=4, warmup_steps=2, ema_decay=0.9, seed=5))
"""


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_a_run_killed_at_a_random_moment_goes_on_as_if_never_killed(tmp_path, attempt):
    recipe = Recipe(rate=0.02, steps=60, batch=4, warmup_steps=2, ema_decay=0.9, seed=5)
    whole, _ = run(tmp_path / "whole", recipe=recipe)
    folder = tmp_path / "cut"
    script = textwrap.dedent(KILLED).format(tests=os.path.dirname(__file__), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline, wanted = 120.0, np.random.default_rng().integers(4, 50)
        while deadline > 0 and not (read_log(folder) and read_log(folder)[-1]["step"] >= wanted):
            assert process.poll() is None
            deadline -= 0.01
            signal.sigtimedwait([], 0.01)
    finally:
        process.kill()
        process.wait(10)
    assert 3 <= read_checkpoint(folder / "last.pt")["state"]["step"] < 60
    resumed, _ = run(folder, recipe=recipe)
    assert_same(weights_of(resumed), weights_of(whole))
    assert read_log(folder) == read_log(tmp_path / "whole")


def test_bf16_gives_way_to_fp32_on_a_cpu_without_it_unless_asked_for(monkeypatch, capsys):
    ours, cpu = Recipe(precision="bf16"), torch.device("cpu")
    monkeypatch.setattr(precision, "native_bf16", lambda device: False)
    assert precision.without_slow_bf16(ours, ["rate=1"], cpu) == replace(ours, precision="fp32")
    assert "fp32 instead of bf16" in capsys.readouterr().err
    assert precision.without_slow_bf16(ours, ["precision=bf16"], cpu) == ours
    monkeypatch.setattr(precision, "native_bf16", lambda device: True)
    assert precision.without_slow_bf16(ours, [], cpu) == ours
    assert capsys.readouterr().err == ""


def test_the_weights_that_are_kept_are_the_averaged_ones_that_were_validated(tmp_path):
    seen = []

    def validate(network):
        seen.append(weights_of(network))
        return {"mAP": float(len(seen) == 2)}

    network, state = run(tmp_path, validate=validate)
    assert state.best_step == 6
    assert_same(network.state_dict(), seen[1])
