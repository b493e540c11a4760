"""The network's parts against plain loops, its sizes, its errors, and what training and export need of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.slowfast import SlowFastConfig, create_network
from detector.slowfast.blocks import Lateral, NonLocal
from detector.slowfast.flow import optical_flow
from detector.slowfast.heads import ClassificationHead
from detector.slowfast.inputs import normalize, prepare_fast, take_slow_frames

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = SlowFastConfig(width=8, beta_inv=4, blocks=(1, 1, 1, 1), num_frames=8, alpha=4, num_classes=5)
CLASSIFIER = replace(SMALL, head="classification", activation="softmax")


def clip(batch, frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, frames, height, width, 3), dtype=torch.uint8, generator=generator)


def small_network(config=SMALL):
    return create_network(config, seed=0).eval()


@pytest.mark.parametrize(
    ("frames", "size_hw", "cells"),
    [(8, (96, 96), (6, 6)), (8, (33, 47), (3, 3)), (4, (64, 65), (4, 5)), (32, (16, 16), (1, 1)),
     (12, (256, 455), (16, 29))],
)
def test_any_size_and_length_that_the_strides_allow(frames, size_hw, cells):
    network = small_network()
    with torch.inference_mode():
        features = network.forward_trunk(clip(2, frames, *size_hw))
        scores = network.forward_head(features, torch.tensor([[1, 0.0, 0, 9, 9]]))
    assert features.shape == (2, SMALL.feature_channels, *cells)
    assert scores.shape == (1, 5)
    classifier = small_network(CLASSIFIER)
    if min(size_hw) >= 32:
        with torch.inference_mode():
            assert classifier(clip(2, frames, *size_hw)).sum(1).tolist() == pytest.approx([1.0, 1.0], rel=1e-5)


@pytest.mark.parametrize(
    ("config", "frames", "message"),
    [
        (SMALL, torch.zeros((1, 8, 32, 32, 3)), "expected .*uint8"),
        (SMALL, torch.zeros((1, 3, 8, 32, 32), dtype=torch.uint8), r"expected \(B, T, H, W, 3\)"),
        (SMALL, torch.zeros((8, 32, 32, 3), dtype=torch.uint8), r"expected \(B, T, H, W, 3\)"),
        (SMALL, clip(1, 6, 32, 32), "T = 6, expected a multiple of alpha = 4"),
        (SMALL, clip(1, 0, 32, 32), "T = 0"),
        (SMALL, clip(1, 8, 15, 32), "32x15 pixels, expected at least one frame of 16x16"),
        (CLASSIFIER, clip(1, 8, 31, 64), "at least one frame of 32x32"),
        (replace(SMALL, nonlocal_blocks=(0,)), clip(1, 4, 64, 64), r"\(1, 4, 4\) cells .* at least \(2, 2, 2\)"),
    ],
)
def test_an_impossible_clip_is_a_clear_error(config, frames, message):
    with pytest.raises(ValueError, match=message):
        small_network(config).forward_trunk(frames)


def test_rows_belong_to_detection_and_only_there():
    with pytest.raises(ValueError, match="expected ROI rows"):
        small_network()(clip(1, 8, 32, 32))
    with pytest.raises(ValueError, match="classifies whole clips"):
        small_network(CLASSIFIER)(clip(1, 8, 32, 32), torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"depth": 34}, "depth: got 34, expected one of"),
        ({"num_frames": 30}, "alpha: got 4 for 30 frames"),
        ({"lateral": "magic"}, "lateral: got 'magic', expected one of conv"),
        ({"head": "segmentation"}, "head: got"),
        ({"fast_input": "depth"}, "fast_input: got"),
        ({"blocks": (3, 4, 6)}, "blocks: got"),
        ({"nonlocal_blocks": (6,)}, "nonlocal_blocks: got .*expected 0..5"),
        ({"num_classes": 0}, "num_classes: got 0"),
        ({"lateral_kernel": 4}, "odd"),
        ({"lateral": "time_to_channel_sum"}, "expected them equal"),
        ({"width": 4}, "beta_inv: got 8, expected at most the width, 4"),
    ],
)
def test_impossible_numbers_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        SlowFastConfig(**numbers)


def test_pathways_see_their_frames_and_come_out_slow_first():
    """Where only the fast pathway's frames change, only the last channels do (without lateral connections)."""
    network = small_network(replace(SMALL, lateral="none"))
    a = clip(1, 8, 32, 32)
    b = a.clone()
    chosen = set(SMALL.slow_indices)
    for t in set(range(8)) - chosen:
        b[:, t] = 255 - b[:, t]
    with torch.inference_mode():
        x, y = network.forward_trunk(a), network.forward_trunk(b)
    slow = SMALL.slow_channels[4]
    assert torch.equal(x[:, :slow], y[:, :slow])
    assert not torch.allclose(x[:, slow:], y[:, slow:])
    assert x.shape[1] - slow == SMALL.fast_channels[4]


def test_the_slow_pathways_frames_are_the_published_ones():
    frames = torch.arange(32, dtype=torch.uint8)[None, :, None, None, None].expand(1, 32, 1, 1, 3)
    assert take_slow_frames(frames, 4)[0, :, 0, 0, 0].tolist() == [0, 4, 8, 13, 17, 22, 26, 31]


def test_colours_are_centred_as_published():
    x = normalize(torch.tensor([[[[[0, 255, 51]]]]], dtype=torch.uint8), SMALL, torch.float32)
    assert x.shape == (1, 3, 1, 1, 1)
    assert x.flatten().tolist() == pytest.approx([-2.0, 0.55 / 0.225, -0.25 / 0.225])


def test_gray_and_difference_by_hand():
    frames = clip(1, 4, 6, 5)
    luma = (frames.double() * torch.tensor([0.299, 0.587, 0.114])).sum(-1) / 255
    gray = prepare_fast(frames, None, replace(SMALL, fast_input="gray"), torch.float32)
    torch.testing.assert_close(gray[:, 0].double(), (luma - 0.45) / 0.225, atol=1e-5, rtol=0)
    change = prepare_fast(frames, None, replace(SMALL, fast_input="difference"), torch.float32)
    assert change.shape == (1, 1, 4, 6, 5)
    assert (change[:, :, 0] == 0).all()
    torch.testing.assert_close(change[:, 0, 1:].double(), (luma[:, 1:] - luma[:, :-1]) / 0.225, atol=1e-5, rtol=0)


def test_half_resolution_averages_pixels_and_keeps_odd_borders():
    config = replace(SMALL, fast_half_resolution=True)
    frames = clip(1, 2, 5, 4)
    full, half = normalize(frames, config, torch.float32), prepare_fast(frames, None, config, torch.float32)
    assert half.shape == (1, 3, 2, 3, 2)
    torch.testing.assert_close(half[..., 0, 1], full[..., 0:2, 2:4].mean((-1, -2)))
    torch.testing.assert_close(half[..., 2, 0], full[..., 4, 0:2].mean(-1))


@pytest.mark.parametrize("size_hw", [(64, 64), (49, 71)])
def test_half_resolution_networks_run_at_odd_sizes_too(size_hw):
    config = replace(SMALL, fast_half_resolution=True)
    whole = small_network(SMALL).forward_trunk(clip(1, 8, *size_hw))
    assert small_network(config).forward_trunk(clip(1, 8, *size_hw)).shape == whole.shape


def test_optical_flow_of_a_shifted_picture_is_the_shift():
    rng = np.random.default_rng(0)
    big = np.kron(rng.integers(0, 256, (40, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.stack([big[20 - 2 * t : 100 - 2 * t, 20 + 3 * t : 120 + 3 * t] for t in range(3)])
    flow = optical_flow(frames)  # the window goes right and up, so the picture goes left and down
    assert flow.shape == (3, 80, 100, 2)
    assert (flow[0] == 0).all()
    for t in (1, 2):
        assert np.median(flow[t].reshape(-1, 2), 0) == pytest.approx([-3, 2], abs=0.1)


def test_a_flow_network_computes_or_takes_flow_and_says_so_while_tracing():
    network = small_network(replace(SMALL, fast_input="flow"))
    frames = clip(1, 8, 32, 32)
    flow = torch.from_numpy(optical_flow(frames[0].numpy()))[None]
    with torch.inference_mode():
        assert torch.equal(network.forward_trunk(frames), network.forward_trunk(frames, flow))
        assert not torch.equal(network.forward_trunk(frames), network.forward_trunk(frames, flow + 3))
    with pytest.raises(RuntimeError, match="expected flow as an input"):
        torch.jit.trace(_Trunk(network), (frames,))


def test_packing_time_into_channels_by_hand():
    slow, fast = torch.randn(1, 6, 2, 3, 4), torch.randn(1, 2, 8, 3, 4)
    lateral = Lateral("time_to_channel_concat", 2, alpha=4, kernel=5)
    joined = lateral(slow, fast)
    assert joined.shape == (1, 6 + 8, 2, 3, 4)
    assert torch.equal(joined[:, :6], slow)
    for c in range(2):
        for a in range(4):
            for t in range(2):
                assert torch.equal(joined[0, 6 + c * 4 + a, t], fast[0, c, 4 * t + a])
    slow = torch.randn(1, 8, 2, 3, 4)
    summed = Lateral("time_to_channel_sum", 2, alpha=4, kernel=5)(slow, fast)
    torch.testing.assert_close(summed, slow + joined[:, 6:])


def test_time_strided_sampling_takes_one_of_every_alpha_frames():
    slow, fast = torch.randn(1, 3, 2, 2, 2), torch.randn(1, 2, 8, 2, 2)
    joined = Lateral("time_strided", 2, alpha=4, kernel=5)(slow, fast)
    assert torch.equal(joined[:, 3:], fast[:, :, [0, 4]])
    assert Lateral("none", 2, alpha=4, kernel=5)(slow, fast) is slow


def test_a_nonlocal_block_is_a_weighted_sum_over_all_positions():
    torch.manual_seed(0)
    block = NonLocal(4, (2, 2, 2)).double().eval()
    x = torch.randn(2, 4, 2, 3, 5, dtype=torch.double)

    def one_by_one(convolution, values):
        """A 1x1x1 convolution of a list of vectors."""
        return [convolution.weight[:, :, 0, 0, 0] @ v + convolution.bias for v in values]

    for b in range(2):
        positions = [x[b, :, t, h, w] for t in range(2) for h in range(3) for w in range(5)]
        pooled = [  # odd last rows and columns fall away
            x[b, :, 0:2, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2].amax((1, 2, 3)) for h in range(1) for w in range(2)
        ]
        keys, values = one_by_one(block.conv_phi, pooled), one_by_one(block.conv_g, pooled)
        for place, query in enumerate(one_by_one(block.conv_theta, positions)):
            mixed = sum((query @ key) * value for key, value in zip(keys, values)) / len(keys)
            out = one_by_one(block.conv_out, [mixed])[0] / np.sqrt(1 + 1e-5)  # BN with fresh statistics
            expected = positions[place] + out
            torch.testing.assert_close(block(x)[b].flatten(1)[:, place], expected, rtol=1e-10, atol=1e-10)


def test_nonlocal_blocks_stand_after_their_residual_blocks():
    config = replace(SMALL, blocks=(1, 1, 3, 1), nonlocal_blocks=(0, 2))
    names = [name for name, _ in small_network(config).s4.named_children() if name.startswith("pathway0")]
    assert names == ["pathway0_res0", "pathway0_nonlocal0", "pathway0_res1", "pathway0_res2", "pathway0_nonlocal2"]


def test_temporal_kernels_and_strides_are_the_papers():
    network = small_network(replace(SMALL, blocks=(2, 2, 3, 2), temporal_blocks_res4=2, lateral_kernel=7))
    kernels = {n: m.kernel_size[0] for n, m in network.named_modules() if n.endswith("branch2.a")}
    slow = [kernels[f"s{s}.pathway0_res0.branch2.a"] for s in (2, 3, 4, 5)]
    fast = [kernels[f"s{s}.pathway1_res0.branch2.a"] for s in (2, 3, 4, 5)]
    assert (slow, fast) == ([1, 1, 3, 3], [3, 3, 3, 3])
    assert [kernels[f"s4.pathway{p}_res2.branch2.a"] for p in (0, 1)] == [1, 1]
    assert network.s1.pathway1_stem.conv.kernel_size == (5, 7, 7)
    assert network.s1_fuse.conv_f2s.kernel_size == (7, 1, 1)
    assert network.s5.pathway0_res0.branch2.b.stride == (1, 1, 1)
    assert network.s5.pathway0_res1.branch2.b.dilation == (1, 2, 2)
    classifier = small_network(CLASSIFIER)
    assert classifier.s5.pathway0_res0.branch2.b.stride == (1, 2, 2)
    assert classifier.s5.pathway0_res0.branch2.b.dilation == (1, 1, 1)


def test_windows_of_cells_are_scored_apart_and_averaged():
    head = ClassificationHead(3, 4, 0.5, "softmax", pool_cells=2).eval()
    features = torch.randn(1, 3, 3, 2)
    windows = [features[..., 0:2, :], features[..., 1:3, :]]
    expected = sum(head.projection(w.mean((2, 3))).softmax(1) for w in windows) / 2
    torch.testing.assert_close(head(features), expected)
    whole = ClassificationHead(3, 4, 0.5, "softmax").eval()
    whole.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(features[:, :, :2, :1]), whole(features[:, :, :2, :1]))


def test_seeds_make_the_same_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    a = create_network(SMALL, seed=1)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)
    b, c = create_network(SMALL, seed=1), create_network(SMALL, seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.head.projection.weight, c.head.projection.weight)


def test_initialisation_is_he_for_convolutions_and_small_for_the_last_layer():
    network = create_network(SlowFastConfig(width=32, blocks=(1, 1, 1, 1), nonlocal_blocks=(0,)), seed=0)
    conv = network.s5.pathway0_res0.branch2.b
    assert conv.weight.std().item() == pytest.approx((2 / (conv.out_channels * 9)) ** 0.5, rel=0.02)
    assert network.head.projection.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (network.head.projection.bias == 0).all()
    assert (network.s4.pathway0_nonlocal0.conv_g.bias == 0).all()


def test_zero_init_starts_blocks_as_the_identity():
    config = replace(SMALL, blocks=(2, 1, 2, 1), nonlocal_blocks=(0,))
    network = create_network(config, seed=0, zero_init=True).eval()
    x = torch.rand(1, 32, 2, 4, 4)
    assert torch.equal(network.s2.pathway0_res1(x), x)
    y = torch.randn(1, 128, 2, 4, 4)
    assert torch.equal(network.s4.pathway0_nonlocal0(y), y)


def test_dropout_acts_in_training_only():
    network = small_network()
    features, rows = torch.rand(1, SMALL.feature_channels, 4, 4), torch.tensor([[0, 0.0, 0, 60, 60]])
    assert torch.equal(network.forward_head(features, rows), network.forward_head(features, rows))
    network.train()
    assert not torch.equal(network.forward_head(features, rows), network.forward_head(features, rows))


def test_logits_are_what_sigmoid_and_softmax_are_taken_of():
    network, rows = small_network(), torch.tensor([[0, 0.0, 0, 30, 30]])
    with torch.inference_mode():
        frames = clip(1, 8, 32, 32)
        torch.testing.assert_close(network(frames, rows), network(frames, rows, activate=False).sigmoid())
        classifier = small_network(CLASSIFIER)
        torch.testing.assert_close(classifier(frames), classifier(frames, activate=False).softmax(1))


def test_aligned_shifts_the_boxes_by_half_a_cell():
    frames, rows = clip(1, 8, 96, 96), torch.tensor([[0, 20.0, 20, 60, 70]])
    old, new = small_network(), small_network(replace(SMALL, aligned=True))
    with torch.inference_mode():
        assert not torch.equal(old(frames, rows), new(frames, rows))
        shifted = rows + torch.tensor([0, 8.0, 8, 8, 8])  # half a cell of 16 pixels undoes the shift
        torch.testing.assert_close(old(frames, rows), new(frames, shifted))


def test_bfloat16_features_keep_precise_boxes():
    network = small_network()
    features = torch.rand(1, SMALL.feature_channels, 16, 29)
    rows = torch.tensor([[0, 401.3, 33.7, 449.9, 250.1]])
    with torch.inference_mode():
        exact = network.forward_head(features, rows)
        rough = network.forward_head(features.bfloat16(), rows)
    torch.testing.assert_close(rough, exact, atol=0.01, rtol=0)


@pytest.mark.slow
@pytest.mark.ci
def test_a_recorded_graph_serves_other_sizes():
    network = small_network()
    traced = torch.jit.trace(_Trunk(network), (clip(1, 8, 64, 64),))
    exported = torch.export.export(
        _Trunk(network), (clip(2, 8, 64, 64),),
        dynamic_shapes=({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},),
    ).module()
    other = clip(3, 8, 49, 80)
    with torch.inference_mode():
        want = network.forward_trunk(other)
        scale = want.abs().max()
        assert (traced(other) - want).abs().max() < 1e-5 * scale
        assert (exported(other) - want).abs().max() < 1e-5 * scale


class _Trunk(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, frames):
        return self.network.forward_trunk(frames)


def test_numbers_and_names_import_without_torch():
    code = (
        "import sys, detector.slowfast, detector.slowfast.config, detector.slowfast.family, detector.slowfast.naming; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bundled_label_maps_fit_the_papers_classifiers():
    from detector.labels import load_labels

    kinetics, charades = load_labels("kinetics400"), load_labels("charades")
    assert len(kinetics) == 400
    assert [a.name for a in kinetics] == sorted(a.name for a in kinetics), "Kinetics counts in alphabetical order"
    assert (kinetics[0].name, kinetics[115].name, kinetics[399].name) == ("abseiling", "eating ice cream", "zumba")
    assert [a.id for a in charades] == list(range(157))
    assert (charades[0].name, charades[156].name) == ("Holding some clothes", "Someone is eating something")
    assert charades[charades.column_of_id[97]].name == "Walking through a doorway"


@pytest.mark.parametrize("size", [128, 160])
def test_bf16_training_on_a_cpu_gives_a_stem_of_any_width_finite_gradients(size):
    from detector.slowfast.blocks import Stem

    torch.manual_seed(0)
    stem = Stem(3, 24, 1).train()
    frames = torch.randn(2, 3, 4, size, size)
    stem(frames).sum().backward()
    wanted = stem.conv.weight.grad.clone()
    stem.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        stem(frames).sum().backward()
    assert torch.isfinite(stem.conv.weight.grad).all()
    assert torch.allclose(stem.conv.weight.grad, wanted, atol=0.02 * wanted.abs().max())
