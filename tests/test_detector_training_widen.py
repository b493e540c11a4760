"""A widened network computes what the narrow one did."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detector.errors import UserError
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.training.widen import deepen, widen

NARROW = SlowFastConfig(
    num_frames=8, alpha=4, beta_inv=4, width=8, blocks=(1, 1, 2, 1), fast_input="gray", fast_half_resolution=True,
    num_classes=5,
)


def settled(config: SlowFastConfig):
    """A network whose batch norms have statistics and scales of their own."""
    network = create_network(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "bn.bias", "_bn.bias")):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
            elif name.endswith(("running_var", "bn.weight", "_bn.weight")):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.eval()


def scores(*networks):
    """What each says of the same two people."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 8, 48, 48, 3), dtype=torch.uint8, generator=generator)
    rois = torch.tensor([[0, 4, 4, 40, 44], [1, 10, 0, 30, 47.0]])
    with torch.inference_mode():
        return [network(frames, rois, activate=False) for network in networks]


@pytest.mark.parametrize("width", [8, 12, 16, 20])
@pytest.mark.parametrize("pathways", ["slowfast", "slow", "fast"])
def test_widened_network_gives_the_same_scores(width, pathways):
    narrow = replace(NARROW, pathways=pathways)
    wide = replace(narrow, width=width)
    before, after = settled(narrow), create_network(wide, seed=0).eval()
    after.load_state_dict(widen(before.state_dict(), narrow, wide))
    expected, got = scores(before, after)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("pathways", ["slowfast", "slow", "fast"])
def test_deepened_network_gives_the_same_scores_and_learns_in_its_new_blocks(pathways):
    shallow = replace(NARROW, pathways=pathways)
    deep = replace(shallow, blocks=(2, 1, 3, 3))
    before, after = settled(shallow), create_network(deep, seed=0).eval()
    after.load_state_dict(deepen(before.state_dict(), deep))
    expected, got = scores(before, after)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    after(torch.zeros(1, 8, 48, 48, 3, dtype=torch.uint8), torch.tensor([[0, 4, 4, 40, 44.0]])).sum().backward()
    added = [p for n, p in after.named_parameters() if "_res2." in n and n.endswith("branch2.c_bn.weight")]
    assert added
    assert all(not p.any() and p.grad.any() for p in added)


def test_a_network_that_differs_in_more_than_its_depth_is_refused():
    values = settled(NARROW).state_dict()
    for deep in (replace(NARROW, blocks=(1, 1, 1, 1)), replace(NARROW, blocks=(1, 1, 3, 1), num_classes=6),
                 replace(NARROW, width=16)):
        with pytest.raises(UserError, match="does not fit"):
            deepen(values, deep)
    with pytest.raises(UserError, match="does not fit"):
        deepen({k: v for k, v in values.items() if "res0.branch2.a" not in k}, NARROW)


def test_noise_parts_the_copies_and_other_networks_are_refused():
    wide = replace(NARROW, width=16)
    values = widen(settled(NARROW).state_dict(), NARROW, wide, noise=0.1)
    copies = values["s4.pathway0_res0.branch2.b.weight"].chunk(2)
    assert not torch.equal(*copies)
    assert torch.nn.functional.cosine_similarity(copies[0].flatten(), copies[1].flatten(), dim=0) > 0.9
    with pytest.raises(UserError, match="more width"):
        widen({}, NARROW, replace(NARROW, width=16, num_classes=6))
    with pytest.raises(UserError, match="more width"):
        widen({}, NARROW, replace(NARROW, width=4))
    with pytest.raises(UserError, match="whole number"):
        widen(settled(NARROW).state_dict(), NARROW, replace(NARROW, width=9))
