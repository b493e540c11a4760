"""The order of clips, recipes and losses: arithmetic that can be worked by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from detector.data.batches import collate
from detector.errors import UserError
from detector.training.batches import ClipOrder, SeededClips, seeded
from detector.training.distributed import World
from detector.training.losses import create_loss
from detector.training.paper import PLANS, find_plan
from detector.training.recipe import Recipe

CPU = torch.device("cpu")


def order(rank=0, size=1, first=0, last=6, length=10, **recipe):
    return list(ClipOrder(length, Recipe(**{"batch": 4, "seed": 2, **recipe}), World(rank, size, CPU), first, last))


def test_every_clip_comes_once_an_epoch_and_epochs_differ():
    keys = [key for part in order(last=5) for key in part]
    assert [epoch for epoch, _ in keys] == [0] * 10 + [1] * 10
    assert sorted(i for epoch, i in keys if epoch == 0) == list(range(10))
    assert [i for _, i in keys[:10]] != [i for _, i in keys[10:]]


def test_processes_and_parts_share_the_same_updates():
    alone = order()
    parts = order(accumulation=2)
    first, second = order(0, 2), order(1, 2)
    assert [a + b for a, b in zip(first, second)] == alone
    assert [parts[i] + parts[i + 1] for i in range(0, 12, 2)] == alone


def test_a_later_start_skips_exactly_the_earlier_updates():
    assert order(first=3) == order()[3:]


def test_weights_are_chances():
    recipe = Recipe(batch=4, seed=0)
    drawn = Counter(
        i for part in ClipOrder(3, recipe, World(0, 1, CPU), 0, 750, np.array([0.0, 1.0, 3.0])) for _, i in part
    )
    assert drawn[0] == 0
    assert 2.5 < drawn[2] / drawn[1] < 3.5


def test_chances_may_be_single_precision():
    weights = np.full(4801, 1 / 7, np.float32)
    assert len(list(ClipOrder(4801, Recipe(batch=4), World(0, 1, CPU), 0, 3, weights))) == 3


def test_a_batch_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match="multiple of 6"):
        order(size=3, accumulation=2)


def test_items_depend_on_seed_epoch_and_index_alone():
    class Noise:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.random.rand(), torch.rand(1).item(), index

    clips = SeededClips(Noise(), seed=1)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = np.random.rand(), torch.rand(1).item()
    np.random.seed(7)
    torch.manual_seed(7)
    first = clips[0, 2]
    assert (np.random.rand(), torch.rand(1).item()) == expected, "what was there is put back"
    assert clips[0, 2] == first
    assert clips[1, 2] != first
    assert clips[0, 1] != first
    assert SeededClips(Noise(), seed=2)[0, 2] != first
    with seeded(5), pytest.raises(RuntimeError):
        raise RuntimeError


def test_collate_numbers_the_clips_of_their_boxes():
    items = [
        (np.full((2, 4, 4, 3), i, np.uint8), np.full((n, 4), i, np.float32), np.full((n, 2), i, np.float32))
        for i, n in enumerate((1, 0, 2))
    ]
    frames, rois, targets = collate(items)
    assert frames.shape == (3, 2, 4, 4, 3)
    np.testing.assert_array_equal(rois, [[0, 0, 0, 0, 0], [2, 2, 2, 2, 2], [2, 2, 2, 2, 2]])
    np.testing.assert_array_equal(targets, [[0, 0], [2, 2], [2, 2]])
    assert collate([(items[0][0], None, items[0][2])])[1] is None
    with pytest.raises(ValueError, match="different sizes"):
        collate([items[0], (np.zeros((2, 5, 4, 3), np.uint8), *items[0][1:])])


def test_the_papers_cosine_and_warm_up():
    recipe = Recipe(rate=1.6, schedule="cosine", warmup_steps=10, warmup_start=0.0)
    assert recipe.rate_at(50, 100) == pytest.approx(0.8)
    assert recipe.rate_at(25, 100) == pytest.approx(1.6 * 0.5 * (math.cos(math.pi / 4) + 1))
    assert recipe.rate_at(0, 100) == 0
    assert recipe.rate_at(5, 100) == pytest.approx(0.5 * recipe.rate_at(10, 100))
    assert recipe.rate_at(99, 100) == pytest.approx(0, abs=1e-3)


def test_steps_and_linear_scaling():
    recipe = Recipe(rate=1.6, rate_batch=1024, batch=64, schedule="steps", milestones=(0.5, 0.75))
    rates = [recipe.rate_at(step, 100) for step in (0, 49, 50, 74, 75, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_command_lines_settings():
    recipe = Recipe().with_numbers(
        ["batch=16", "rate=0.5", "nesterov=yes", "milestones=0.5,0.8", "frozen=s1*,s2*", "rate_factors=s*:0.1"]
    )
    assert (recipe.batch, recipe.rate, recipe.nesterov, recipe.milestones) == (16, 0.5, True, (0.5, 0.8))
    assert (recipe.frozen, recipe.rate_factors) == (("s1*", "s2*"), (("s*", 0.1),))
    for wrong in ("batches=3", "batch", "batch=many", "batch=0", "nesterov=perhaps"):
        with pytest.raises(UserError):
            Recipe().with_numbers([wrong])


def test_the_papers_numbers():
    """Section 4 and 5 of the paper; 14k iterations of 1024 are 68 epochs of AVA's 211k clips."""
    ava = find_plan("ava").recipe_for(["batch=1024"])
    assert (ava.scaled_rate, ava.weight_decay, ava.momentum, ava.warmup_steps) == (1.6, 1e-7, 0.9, 1000)
    assert ava.total_steps(211_000) == pytest.approx(14_000, rel=0.002)
    assert find_plan("ava").recipe_for(["batch=64"]).warmup_steps == 16_000
    kinetics = find_plan("kinetics").recipe_for(["batch=1024", "epochs=256"])
    assert kinetics.total_steps(240_000) == 60_000
    assert (kinetics.weight_decay, kinetics.warmup_steps, kinetics.schedule) == (1e-4, 8000, "cosine")
    charades = find_plan("charades").recipe_for([])
    assert (charades.total_steps(8000), charades.scaled_rate) == (24_000, 0.0375)
    assert all(plan.dropout == 0.5 for name, plan in PLANS.items() if name != "person")
    with pytest.raises(UserError, match="expected one of kinetics, charades, ava"):
        find_plan("AVA")


def test_bce_leaves_out_what_is_unknown():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0], [float("nan"), 1.0]])
    total, count = create_loss(Recipe())(logits, targets)
    expected = math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(-3))
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert count == 3
    weighted, _ = create_loss(Recipe(class_weights=(2.0, 0.0)))(logits, targets)
    assert weighted.item() == pytest.approx(2 * math.log(2), rel=1e-6)
    smooth, _ = create_loss(Recipe(label_smoothing=0.2))(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    assert smooth.item() == pytest.approx(math.log(1 + math.exp(-2)) + 0.1 * 2, rel=1e-6)


def test_an_unknown_target_has_no_gradient():
    logits = torch.zeros(1, 2, requires_grad=True)
    create_loss(Recipe())(logits, torch.tensor([[float("nan"), 1.0]]))[0].backward()
    np.testing.assert_allclose(logits.grad, [[0.0, -0.5]])


def test_softmax_counts_rows():
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    total, count = create_loss(Recipe(loss="softmax"))(logits, torch.tensor([[0.0, 0, 1], [float("nan"), 0, 0]]))
    assert count == 1
    assert total.item() == pytest.approx(math.log(math.exp(-2) + math.exp(-1) + 1), rel=1e-6)
