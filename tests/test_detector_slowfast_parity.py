"""The same weights in pytorchvideo's networks give the same answers, for everything that it can build."""

from __future__ import annotations

import pytest
import torch

from detector.slowfast import SlowFastConfig, create_network
from detector.slowfast.naming import file_name

pytest.importorskip("pytorchvideo")
from pytorchvideo.models.resnet import create_resnet, create_resnet_with_roi_head
from pytorchvideo.models.slowfast import create_slowfast, create_slowfast_with_roi_head

pytestmark = pytest.mark.usefixtures("one_thread")
TOLERANCE = 1e-5
# The paper's width once in every run; the other networks are thin by default and as wide as published with -m slow.
WIDTHS = [16, pytest.param(64, marks=[pytest.mark.slow, pytest.mark.ci])]
R101_TEMPORAL = {
    "stage_conv_a_kernel_sizes": tuple(
        (first, first, ((3, 1, 1),) * 6 + ((1, 1, 1),) * 17, (3, 1, 1)) for first in ((1, 1, 1), (3, 1, 1))
    )
}


def lively_network(config, seed=0):
    """Random weights and BN statistics, so that nothing is zero and scores spread over their range."""
    network = create_network(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            shape = module.weight.shape
            module.weight.data = torch.rand(shape, generator=generator) * 0.4 + 0.3
            module.bias.data = torch.randn(shape, generator=generator) * 0.1
            module.running_mean = torch.randn(shape, generator=generator) * 0.1
            module.running_var = torch.rand(shape, generator=generator) + 0.5
    network.head.projection.weight.data.normal_(0, 0.05, generator=generator)
    return network.eval()


def give_weights(network, reference):
    """Load strictly: each side has exactly the other's tensors."""
    config = network.config
    single, detection = config.pathways == "slow", config.head == "detection"
    state = {
        file_name(name, "pytorchvideo", config.blocks, single, detection): tensor
        for name, tensor in network.state_dict().items()
    }
    reference.load_state_dict(state, strict=True)
    return reference.eval()


def pathway_inputs(frames, config):
    """What pytorchvideo wants: normalised (B, C, T, H, W), the slow pathway's frames picked out."""
    x = (frames.permute(0, 4, 1, 2, 3).float() / 255 - 0.45) / 0.225
    if config.pathways == "slow":
        return x
    slow = torch.linspace(0, x.shape[2] - 1, x.shape[2] // config.alpha).long()
    return [x[:, :, slow], x]


def random_clip(batch, frames, height, width):
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (batch, frames, height, width, 3), dtype=torch.uint8, generator=generator)


def people(count, batch, height, width):
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand((count, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([width, height])
    rows = torch.cat([torch.arange(count)[:, None] % batch, corners.flatten(1)], 1)
    if count > 2:
        rows[2, 1:] = torch.tensor([-9.0, -5, width + 20.0, height + 7.5])  # reaches beyond the picture
    return rows


def largest_difference(network, reference, frames, rois=None):
    with torch.inference_mode():
        ours = network(frames, rois)
        inputs = pathway_inputs(frames, network.config)
        theirs = reference(inputs, rois) if rois is not None else reference(inputs)
    assert ours.shape == theirs.shape
    assert ours.std() > 1e-4, "scores that do not vary prove nothing"
    difference = (ours - theirs).abs().max().item()
    print(f"largest difference of {ours.numel()} scores: {difference:.1e}")
    return difference


def slowfast_reference(config, build, alpha_frames, cells=(1, 1), **arguments):
    """pytorchvideo's network with those numbers."""
    return build(
        model_num_class=config.num_classes, model_depth=config.depth,
        stem_dim_outs=(config.width, config.width // 8),
        slowfast_fusion_conv_kernel_size=(config.lateral_kernel, 1, 1),
        slowfast_fusion_conv_stride=(config.alpha, 1, 1),
        head_pool_kernel_sizes=((alpha_frames // config.alpha, *cells), (alpha_frames, *cells)), **arguments,
    )


@pytest.fixture(scope="module")
def detector_8x8():
    network = lively_network(SlowFastConfig(lateral_kernel=7))
    return network, give_weights(network, create_slowfast_with_roi_head(model_num_class=80))


@pytest.fixture(scope="module")
def thin_detector_8x8():
    config = SlowFastConfig(lateral_kernel=7, width=16)
    network = lively_network(config)
    return network, give_weights(network, slowfast_reference(config, create_slowfast_with_roi_head, 32))


def test_detection_8x8_r50_as_published(detector_8x8):
    network, reference = detector_8x8
    assert largest_difference(network, reference, random_clip(1, 32, 49, 81), people(7, 1, 49, 81)) < TOLERANCE


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), pytest.param(256, 455, marks=pytest.mark.slow)])
def test_detection_at_even_and_odd_sizes(thin_detector_8x8, height, width):
    network, reference = thin_detector_8x8
    batch = 2 if height == 65 else 1
    frames = random_clip(batch, 32, height, width)
    assert largest_difference(network, reference, frames, people(7, batch, height, width)) < TOLERANCE


@pytest.mark.parametrize("count", [1, 7])
def test_detection_with_few_people(thin_detector_8x8, count):
    network, reference = thin_detector_8x8
    assert largest_difference(network, reference, random_clip(1, 32, 48, 80), people(count, 1, 48, 80)) < TOLERANCE


def test_detection_with_nobody(thin_detector_8x8):
    network, _ = thin_detector_8x8
    with torch.inference_mode():
        assert network(random_clip(1, 32, 48, 80), torch.zeros(0, 5)).shape == (0, 80)


@pytest.mark.parametrize("width", WIDTHS)
def test_detection_4x16_r50(width):
    config = SlowFastConfig(alpha=8, num_classes=5, width=width)
    network = lively_network(config)
    reference = give_weights(network, slowfast_reference(config, create_slowfast_with_roi_head, 32))
    assert largest_difference(network, reference, random_clip(1, 32, 64, 90), people(3, 1, 64, 90)) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS)
def test_detection_r101_with_six_temporal_blocks(width):
    config = SlowFastConfig(depth=101, temporal_blocks_res4=6, width=width)
    network = lively_network(config)
    reference = slowfast_reference(config, create_slowfast_with_roi_head, 32, **R101_TEMPORAL)
    give_weights(network, reference)
    assert largest_difference(network, reference, random_clip(1, 32, 48, 49), people(3, 1, 48, 49)) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS)
def test_detection_slow_only_4x16_r50(width):
    network = lively_network(SlowFastConfig(pathways="slow", num_frames=4, width=width))
    reference = give_weights(network, create_resnet_with_roi_head(
        model_depth=50, model_num_class=80, stem_dim_out=width, dropout_rate=0.5, head_pool_kernel_size=(4, 1, 1),
        stem_conv_kernel_size=(1, 7, 7), head_activation=torch.nn.Sigmoid, head_output_size=(1, 1, 1),
    ))
    assert largest_difference(network, reference, random_clip(2, 4, 79, 95), people(7, 2, 79, 95)) < TOLERANCE


def classifier(**numbers):
    return SlowFastConfig(**{"head": "classification", "num_classes": 400, "activation": "softmax", **numbers})


def softmaxed(reference):
    """pytorchvideo's classifiers end in logits."""
    return torch.nn.Sequential(reference, torch.nn.Softmax(dim=1))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("numbers", "size_hw"),
    [({"lateral_kernel": 7}, (65, 97)), ({"alpha": 8}, (64, 64)), ({"depth": 101}, (33, 40)),
     pytest.param({"depth": 101, "num_frames": 64, "temporal_blocks_res4": 6}, (64, 64), marks=pytest.mark.slow)],
    ids=["8x8 r50", "4x16 r50", "8x8 r101, all blocks temporal", "16x8 r101"],
)
def test_classification(numbers, size_hw, width):
    config = classifier(width=width, **numbers)
    cells = tuple(-(-side // 32) for side in size_hw)
    network = lively_network(config)
    kernels = R101_TEMPORAL if config.temporal_blocks_res4 else {}
    reference = slowfast_reference(config, create_slowfast, config.num_frames, cells, **kernels)
    give_weights(network, reference)
    frames = random_clip(1, config.num_frames, *size_hw)
    assert largest_difference(network, softmaxed(reference), frames) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("frames", [4, 8])
def test_classification_slow_only_r50(frames, width):
    network = lively_network(classifier(pathways="slow", num_frames=frames, width=width))
    reference = give_weights(network, create_resnet(
        model_depth=50, stem_dim_out=width, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(frames, 3, 2)
    ))
    assert largest_difference(network, softmaxed(reference), random_clip(2, frames, 80, 64)) < TOLERANCE


def test_larger_crops_are_averaged_over_training_windows():
    """pytorchvideo pools 7x7 cells even where a 256-pixel crop has 8x8, and averages the logits."""
    network = lively_network(classifier(pathways="slow", num_frames=4, pool_cells=2, width=16))
    reference = give_weights(network, create_resnet(
        model_depth=50, stem_dim_out=16, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(4, 2, 2)
    ))
    frames = random_clip(1, 4, 96, 128)
    with torch.inference_mode():
        difference = network(frames, activate=False) - reference(pathway_inputs(frames, network.config))
    assert difference.abs().max() < TOLERANCE
