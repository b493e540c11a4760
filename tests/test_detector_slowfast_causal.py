"""The causal network: two ways to run that agree, what it looks at, what it remembers, and what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from detector.slowfast import SlowFastConfig, create_network
from detector.slowfast.causal import (
    create_state,
    receptive_field,
    run_all_steps,
    run_step,
    state_shapes,
    step_trunk,
)
from detector.slowfast.causal_conv import Carrying, CausalConv3d
from tests.test_engine_build_rewrite import give_statistics

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = SlowFastConfig(width=8, beta_inv=4, blocks=(1, 2, 2, 1), num_frames=8, alpha=4, num_classes=5, causal=True)
KINDS = {
    "slowfast": SMALL,
    "narrow": replace(SMALL, width=16, beta_inv=8, blocks=(2, 2, 2, 2)),
    "lateral 7": replace(SMALL, lateral_kernel=7),
    "alpha 8": replace(SMALL, alpha=8, num_frames=16),
    "alpha 2": replace(SMALL, alpha=2, num_frames=6),
    "slow only": replace(SMALL, pathways="slow", num_frames=4),
    "fast only": replace(SMALL, pathways="fast"),
    "temporal blocks": replace(SMALL, temporal_blocks_res4=1),
    "classification": replace(SMALL, head="classification", activation="softmax"),
    "no lateral": replace(SMALL, lateral="none"),
    "time strided": replace(SMALL, lateral="time_strided"),
    "time to channel": replace(SMALL, lateral="time_to_channel_concat"),
    "time to channel, summed": replace(SMALL, lateral="time_to_channel_sum"),
    "gray": replace(SMALL, fast_input="gray"),
    "difference": replace(SMALL, fast_input="difference"),
    "flow": replace(SMALL, fast_input="flow"),
    "half": replace(SMALL, fast_half_resolution=True),
}
BOXES = torch.tensor([[0, 3.0, 5.0, 30.0, 40.0], [1, 10.5, 0.0, 44.0, 39.0], [1, 0.0, 0.0, 48.0, 40.0]])


def clips(batch, frames, size_hw=(40, 48), seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (batch, frames, *size_hw, 3), generator=generator)
    return coarse.to(torch.uint8)


def network_of(config, seed=0):
    return give_statistics(create_network(config, seed=seed))


def rows_for(config, boxes):
    return None if config.head == "classification" else boxes


def head(network, features, boxes=BOXES):
    return network.forward_head(features, rows_for(network.config, boxes))


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_gives_what_the_whole_clip_gives(kind):
    """After every step the features and scores are those of the clip so far; longer than the window, too."""
    config = KINDS[kind]
    network = network_of(config)
    n = config.frames_per_step
    frames = clips(2, n * (config.window_steps + 3))
    state = create_state(network, 2, (40, 48))
    with torch.inference_mode():
        at_once = run_all_steps(network, frames)
        for step in range(frames.shape[1] // n):
            features = run_step(network, frames[:, step * n : (step + 1) * n], state)
            whole = network.forward_trunk(frames[:, : (step + 1) * n])
            scale = whole.abs().max()
            assert (features - whole).abs().max() <= 1e-5 * scale
            assert (at_once[:, step] - whole).abs().max() <= 1e-5 * scale
            assert (head(network, features) - head(network, whole)).abs().max() <= 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_any_clip_start_length_and_box(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    network, n = network_of(SMALL, seed), SMALL.frames_per_step
    size_hw = (draw(32, 70), draw(32, 70))
    video = clips(1, 60, size_hw, seed)
    start, steps = draw(0, 20), draw(1, 9)
    corners = torch.rand((3, 2, 2), generator=generator).sort(1).values * torch.tensor([size_hw[1], size_hw[0]])
    boxes = torch.cat([torch.zeros(3, 1), corners.flatten(1)], 1)
    state = create_state(network, 1, size_hw)
    with torch.inference_mode():
        for i in range(steps):
            features = run_step(network, video[:, start + i * n : start + (i + 1) * n], state)
        whole = network.forward_trunk(video[:, start : start + steps * n])
        assert (features - whole).abs().max() <= 1e-5 * whole.abs().max()
        assert (head(network, features, boxes) - head(network, whole, boxes)).abs().max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [SlowFastConfig(lateral_kernel=7, causal=True), SlowFastConfig(depth=101, temporal_blocks_res4=6, causal=True),
     SlowFastConfig(pathways="slow", num_frames=4, causal=True), SlowFastConfig(pathways="fast", causal=True)],
    ids=["R50", "R101", "slow only R50", "fast only R50"],
)
def test_the_papers_networks_give_the_same_in_both_ways(config):
    network = network_of(config)
    n = config.frames_per_step
    frames = clips(1, n * (config.window_steps + 2), (64, 80))
    state = create_state(network, 1, (64, 80))
    with torch.inference_mode():
        for step in range(frames.shape[1] // n):
            features = run_step(network, frames[:, step * n : (step + 1) * n], state)
        whole = network.forward_trunk(frames)
    assert (features - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_a_minute_of_steps_stays_as_close_as_the_first_second():
    """The running sum is taken anew each round of the ring: 225 steps are a minute at 3.75 a second."""
    config = replace(SMALL, blocks=(1, 1, 1, 1), width=4)
    network, n = network_of(config), SMALL.frames_per_step
    video = clips(1, 225 * n, (32, 32))
    state = create_state(network, 1, (32, 32))
    errors = []
    with torch.inference_mode():
        at_once = run_all_steps(network, video)
        for i in range(225):
            features = run_step(network, video[:, i * n : (i + 1) * n], state)
            errors.append(float((features - at_once[:, i]).abs().max() / at_once[:, i].abs().max()))
    assert max(errors) <= 1e-5
    assert max(errors[-20:]) <= 2 * max(errors[:20]) + 1e-7


def test_nothing_after_a_moment_changes_its_answer():
    network = network_of(SMALL)
    a = clips(1, 24)
    b = a.clone()
    b[:, 12:] = 255 - b[:, 12:]
    with torch.inference_mode():
        x, y = run_all_steps(network, a), run_all_steps(network, b)
    assert torch.equal(x[:, :3], y[:, :3])
    assert not torch.allclose(x[:, 3:], y[:, 3:])


def test_the_newest_frame_belongs_to_both_pathways():
    network = network_of(replace(SMALL, lateral="none"))
    slow_channels = SMALL.slow_channels[4]
    a = clips(1, 8)
    changed = []
    for frame in range(8):
        b = a.clone()
        b[:, frame] = 255 - b[:, frame]
        with torch.inference_mode():
            off = (network.forward_trunk(a) - network.forward_trunk(b)).abs().amax((0, 2, 3))
        changed.append((bool(off[:slow_channels].any()), bool(off[slow_channels:].any())))
    assert changed == [(False, True)] * 3 + [(True, True)] + [(False, True)] * 3 + [(True, True)]
    assert SMALL.slow_indices == [3, 7]


@pytest.mark.parametrize(
    ("config", "frames"),
    [
        (SMALL, None), (KINDS["narrow"], None), (KINDS["lateral 7"], None), (KINDS["slow only"], None),
        (KINDS["fast only"], None), (KINDS["no lateral"], None), (KINDS["time strided"], None),
        (KINDS["temporal blocks"], None), (KINDS["difference"], None), (KINDS["alpha 8"], None),
        # By hand, for 8x8 R50: fast stem 4, res2 6, res3 8 frames back, the lateral 6 more, then 6 + 3 slow blocks of
        # 2 steps of 4 frames: 96 before the newest.
        (SlowFastConfig(lateral_kernel=7, causal=True), 97),
        (SlowFastConfig(pathways="slow", causal=True), 19),
        (SlowFastConfig(pathways="fast", causal=True), 40),
    ],
)
def test_receptive_field_is_what_changes_a_step(config, frames):
    reach = receptive_field(config)
    if frames is not None:
        assert reach == frames
        return
    network, n = network_of(config), config.frames_per_step
    # Doubles, and positive weights on bright pictures: no ReLU hides what arrives by the longest way alone.
    network = network.double()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data.abs_()
        elif isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.zero_()
            module.bias.data.abs_()
    steps = -(-reach // n) + 1
    a = clips(1, steps * n, (32, 32)) // 2 + 128

    def newest_step(video):
        with torch.inference_mode():
            slow, fast = network.forward_pathways(video)
        newest = [] if slow is None else [slow[:, :, -1]]
        newest += [] if fast is None else [fast[:, :, -n:].mean(2)]
        return torch.cat(newest, 1)

    reached = a.shape[1] - reach
    outside, inside = a.clone(), a.clone()
    outside[:, 1:reached] = 255 - outside[:, 1:reached]  # the first picture is what came before, too
    inside[:, reached] = 255 - inside[:, reached]
    assert torch.equal(newest_step(a), newest_step(outside))
    assert not torch.equal(newest_step(a), newest_step(inside))


def test_a_reset_camera_begins_anew_and_the_others_go_on():
    network, n = network_of(SMALL), SMALL.frames_per_step
    video = clips(3, 7 * n)
    state = create_state(network, 3, (40, 48))
    with torch.inference_mode():
        for i in range(4):
            run_step(network, video[:, i * n : (i + 1) * n], state)
        state.reset([1])
        for i in range(4, 7):
            features = run_step(network, video[:, i * n : (i + 1) * n], state)
        fresh = network.forward_trunk(video[1:2, 4 * n :])
        old = network.forward_trunk(video[::2])
    assert (features[1:2] - fresh).abs().max() <= 1e-5 * fresh.abs().max()
    assert (features[::2] - old).abs().max() <= 1e-5 * old.abs().max()
    state.reset()
    assert state.steps == [0, 0, 0]
    assert not any(tensor.any() for tensor in state.sums.values())


def test_size_of_a_state_is_that_of_its_tensors():
    config = SlowFastConfig(lateral_kernel=7, causal=True)
    shapes, features = state_shapes(config, (256, 455))
    sums = sum(4 * torch.Size(shape).numel() for shape in shapes.values())
    pictures = 4 * 256 * 455 * 3
    assert features == (2304, 16, 29)
    # By hand: two sums of the inner channels for each 3x1x1 convolution, one of a lateral. A stage's first block
    # comes before its stride, so that its sums have the cells of the stage before.
    cells = {2: 64 * 114, 3: 32 * 57, 4: 16 * 29, 5: 16 * 29}
    fast = 2 * (3 * 8 * cells[2] + 16 * (cells[2] + 3 * cells[3]) + 32 * (cells[3] + 5 * cells[4]) + 3 * 64 * cells[4])
    slow = 2 * (256 * (cells[3] + 5 * cells[4]) + 3 * 512 * cells[5])
    laterals = 16 * cells[2] + 64 * cells[2] + 128 * cells[3] + 256 * cells[4]
    assert sums == 4 * (fast + slow + laterals)
    with torch.device("meta"):
        network = create_network(config)
    state = create_state(network, 2, (256, 455))
    assert round(sums / 1e6) == 23
    assert state.size_bytes == 2 * (pictures + sums + 4 * (8 + 1) * 2304 * 16 * 29)


def test_weights_are_the_clip_networks():
    clip = create_network(replace(SMALL, causal=False), seed=3)
    causal = create_network(SMALL, seed=3)
    assert list(causal.state_dict()) == list(clip.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(causal.state_dict().values(), clip.state_dict().values()))
    assert not any(isinstance(m, CausalConv3d) for m in clip.modules())


def test_whole_clips_train_and_steps_leave_no_trace():
    network = create_network(SMALL, seed=0).train()
    network(clips(2, 16), BOXES, activate=False).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    with torch.no_grad():
        before = network.forward_trunk(clips(1, 8))
        run_step(network, clips(1, 4), create_state(network, 1, (40, 48)))
        assert all(m.carry is None for m in network.modules() if isinstance(m, Carrying))
        assert torch.equal(network.forward_trunk(clips(1, 8)), before)


def test_an_error_within_a_step_leaves_the_network_usable():
    network = network_of(SMALL)
    wrong = {name: torch.zeros(1, 1, 1, 1, 1) for name in state_shapes(SMALL, (40, 48))[0]}
    wrong = {name: torch.zeros(7, *shape.shape[1:]) for name, shape in wrong.items()}
    with pytest.raises(RuntimeError):
        step_trunk(network, clips(2, 8), wrong)
    assert all(m.carry is None for m in network.modules() if isinstance(m, Carrying))


def test_a_copy_has_steps_of_its_own():
    network = network_of(SMALL)
    other = copy.deepcopy(network)
    with torch.no_grad():
        a = run_step(network, clips(1, 4), create_state(network, 1, (40, 48)))
        b = run_step(other, clips(1, 4), create_state(other, 1, (40, 48)))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"nonlocal_blocks": (0, 1)}, r"s4\.pathway0_nonlocal0, s4\.pathway0_nonlocal1"),
        ({"num_frames": 10, "pathways": "fast"}, "10 frames, expected a multiple of alpha = 4"),
    ],
)
def test_what_cannot_be_causal_is_refused_by_name(numbers, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **numbers)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (clips(2, 4), r"expected \(1, 4, 40, 48, 3\)"),
        (clips(1, 8), r"expected \(1, 4, 40, 48, 3\)"),
        (clips(1, 4, (40, 50)), r"expected \(1, 4, 40, 48, 3\)"),
        (clips(1, 4).float(), "float32, expected"),
    ],
)
def test_frames_that_do_not_fit_the_state_are_refused(frames, message):
    network = network_of(SMALL)
    with pytest.raises(ValueError, match=message):
        run_step(network, frames, create_state(network, 1, (40, 48)))


def test_a_clip_network_has_no_state():
    with pytest.raises(ValueError, match="expected causal=True"):
        create_state(create_network(replace(SMALL, causal=False)), 1, (40, 48))
    with pytest.raises(ValueError, match="at least one frame of 16x16"):
        create_state(network_of(SMALL), 1, (8, 48))
