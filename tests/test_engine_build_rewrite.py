"""The rewrites change shapes of arithmetic, not results."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import ActionNetwork, create_network
from engine_build import rewrite
from engine_build.graphs import TrunkGraph, fold_batch_norms
from engine_build.rewrite import PairedStem, SplitConv, pair_fast_stem, split_wide_temporal, to_2d


def network_with_statistics(**more) -> ActionNetwork:
    config = SlowFastConfig(num_frames=8, alpha=4, width=16, blocks=(2, 1, 2, 1), lateral_kernel=7, **more)
    return give_statistics(create_network(config, seed=0))


def give_statistics(network: ActionNetwork) -> ActionNetwork:
    """Batch norms as after training, so that nothing folds away by being zero or one."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.3, 0.7, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return network.eval()


def frames(batch: int, h: int = 48, w: int = 67) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 8, h, w, 3), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() < 1e-5 * expected.norm()
    assert expected.std() > 1e-3


VARIANTS = [{}, {"nonlocal_blocks": (0,)}, {"lateral": "time_strided"}, {"pathways": "slow"}, {"fast_input": "gray"}]


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_folded_batch_norms_change_nothing(more):
    network = network_with_statistics(**more)
    with torch.inference_mode():
        expected = network.forward_trunk(frames(2))
        folded = copy.deepcopy(network)
        fold_batch_norms(folded)
        assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
        assert_same(folded.forward_trunk(frames(2)), expected)


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_the_2d_form_equals_the_3d_network(more):
    network = network_with_statistics(**more)
    with torch.inference_mode():
        expected = network.forward_trunk(frames(2))
        graph = TrunkGraph(network)
        to_2d(graph.network)
        assert not any(isinstance(m, nn.Conv3d) for m in graph.modules())
        assert_same(graph(frames(2)), expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("t", [2, 8])
def test_the_paired_stem_equals_the_stem(t, batch):
    network = network_with_statistics()
    stem = copy.deepcopy(network.s1.pathway1_stem)
    x = torch.randn(batch, 3, t, 37, 50, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = stem(x)
        fold_batch_norms(stem)
        assert_same(PairedStem(stem)(x), expected)


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_a_network_with_a_paired_stem_is_the_same_network(more):
    network = network_with_statistics(**more)
    with torch.inference_mode():
        expected = network.forward_trunk(frames(2))
        graph = TrunkGraph(network)
        pair_fast_stem(graph.network)
        assert any(isinstance(m, PairedStem) for m in graph.modules()) is (more.get("pathways") != "slow")
        assert_same(graph(frames(2)), expected)


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_a_network_whose_wide_convolutions_are_split_is_the_same_network(more, monkeypatch):
    monkeypatch.setattr(rewrite, "WIDE_CHANNELS", 128)
    monkeypatch.setattr(rewrite, "PART_CHANNELS", 32)
    network = network_with_statistics(**more)
    with torch.inference_mode():
        expected = network.forward_trunk(frames(2))
        graph = TrunkGraph(network)
        split_wide_temporal(graph.network)
        split = [m for m in graph.modules() if isinstance(m, SplitConv)]
        assert split
        assert all(part.in_channels == 32 for m in split for part in m.parts)
        assert_same(graph(frames(2)), expected)


def test_only_wide_temporal_convolutions_are_split():
    network = nn.ModuleDict({
        "wide": nn.Conv3d(2048, 4, (3, 1, 1), padding=(1, 0, 0)), "pointwise": nn.Conv3d(2048, 4, 1),
        "spatial": nn.Conv3d(2048, 2, (3, 3, 3)), "narrow": nn.Conv3d(1024, 4, (3, 1, 1)),
        "odd": nn.Conv3d(2050, 4, (3, 1, 1)),
    })
    split_wide_temporal(network)
    assert [name for name, m in network.items() if isinstance(m, SplitConv)] == ["wide"]
    assert [tuple(part.weight.shape) for part in network["wide"].parts] == [(4, 512, 3, 1, 1)] * 4
