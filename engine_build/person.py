"""torchvision's Faster R-CNN with its convolutional part on a fast engine; proposals, RoI heads and NMS stay torch's.

Backbone, FPN and the RPN's head are one graph from the normalised picture to feature maps, objectness and deltas.
The whole detector would export too, but its data-dependent shapes cannot be quantised. torchvision's own code runs
everything round the graph, so boxes are its boxes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import UserError
from detector.person import PersonDetector
from detector.person.faster_rcnn_torchvision import TorchvisionDetector, people_in
from detector.types import Boxes
from engine_build import targets
from engine_build.cache import EngineCache
from engine_build.graphs import trace
from engine_build.manifest import GRAPH_VERSION, EngineKey, sha256_of_weights
from engine_build.quantize import quantize_openvino
from engine_build.run_openvino import compile_cpu, save_model

FILE = "detector.xml"
# Compiled picture sizes that stay in memory.
MAX_SIZES = 4
# Relative error of feature maps and RPN outputs: NMS turns more than this into other boxes.
FEATURE_ERROR = {"fp32": 1e-3, "bf16": 3e-2, "int8": 3e-1}


class ConvolutionalPart(nn.Module):
    """picture (1, 3, H, W) float32 normalised → feature maps, then objectness, then deltas of each FPN level."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.rpn.head

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Run backbone, FPN and RPN head."""
        features = self.backbone(picture)
        maps = list(features.values()) if isinstance(features, dict) else [features]
        objectness, deltas = self.head(maps)
        return (*maps, *objectness, *deltas)


class EngineFasterRcnn:
    """Finds people; see `detector.person.PersonDetector`."""

    def __init__(
        self, network: Any, model_path: Path, *, name: str, precision: str, threshold: float = 0.8
    ) -> None:
        """
        Args:
            network: torchvision's `FasterRCNN` with its weights, in eval mode; copied without its backbone.
            model_path: OpenVINO file of its `ConvolutionalPart`.
            name: of the weights, for the status line.
            precision: `fp32`, `bf16` or `int8`.
            threshold: confidence over which a box is a person.
        """
        self.name = f"{name} (openvino {precision})"
        self.threshold = threshold
        self.notice = f"people: {self.name}"
        keys = _map_names(network)
        backbone, head = network.backbone, network.rpn.head
        engine = _EngineBackbone(model_path, keys, precision)
        # Copy all but the large part, which the engine replaces.
        network.backbone, network.rpn.head = nn.Identity(), nn.Identity()
        try:
            self._network: Any = copy.deepcopy(network).eval()
        finally:
            network.backbone, network.rpn.head = backbone, head
        self._network.backbone, self._network.rpn.head = engine, _EngineRpnHead(engine)

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; boxes over the threshold, best first."""
        return people_in(self._network, image, self.threshold, torch.device("cpu"))

    @torch.inference_mode()
    def detect_all(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        """What torchvision's network itself returns for (3, H, W) float pictures 0..1: all classes."""
        return self._network(pictures)

    def fork(self) -> EngineFasterRcnn:
        """Itself: it remembers nothing between pictures."""
        return self

    def close(self) -> None:
        """Free the engine."""
        if self._network is not None:
            self._network.backbone.close()
        self._network = None


class _EngineBackbone(nn.Module):
    """In place of torchvision's backbone; keeps the RPN head's outputs for `_EngineRpnHead`."""

    def __init__(self, path: Path, keys: list[str], precision: str) -> None:
        super().__init__()
        core = targets.require("openvino").Core()
        self._graph: Any = core.read_model(str(path))
        self._core: Any = core
        self._keys, self._precision = keys, precision
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.rpn_outputs: tuple[list[Tensor], list[Tensor]] = ([], [])

    def forward(self, pictures: Tensor) -> OrderedDict[str, Tensor]:
        request = self._request(tuple(pictures.shape))
        request.infer([pictures.numpy()], share_inputs=True)
        # Copies: the results outlive the next picture.
        outputs = [torch.from_numpy(t.data.copy()) for t in request.output_tensors]
        n = len(self._keys)
        self.rpn_outputs = (outputs[n : 2 * n], outputs[2 * n :])
        return OrderedDict(zip(self._keys, outputs[:n]))

    def close(self) -> None:
        self._requests.clear()
        self._graph = self._core = None

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            model = self._graph.clone()
            model.reshape(list(shape))
            self._requests[shape] = compile_cpu(self._core, model, self._precision).create_infer_request()
            if len(self._requests) > MAX_SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        return self._requests[shape]


class _EngineRpnHead(nn.Module):
    def __init__(self, backbone: _EngineBackbone) -> None:
        super().__init__()
        self._backbone = [backbone]  # in a list, so that it is not registered twice

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return self._backbone[0].rpn_outputs


def build_person_detector(
    network: Any,
    name: str,
    *,
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    threshold: float = 0.8,
    images: Sequence[np.ndarray] | None = None,
    cache_dir: Path | str | None = None,
    report: Callable[[str], object] = print,
) -> EngineFasterRcnn:
    """Put a Faster R-CNN's convolutional part on OpenVINO, or take it from the cache.

    Args:
        network: torchvision's `FasterRCNN` with its weights.
        name: of the weights.
        precision: "auto" is bf16 where the CPU multiplies it natively, else fp32.
        threshold: confidence over which a box is a person.
        images: (H, W, 3) uint8 BGR pictures: int8's ranges come from them, and all is verified on them.
        cache_dir: of engines; the user's where None.
        report: takes lines about what happens.

    Raises:
        UserError: OpenVINO is missing, int8 has no pictures, or the engine is out of tolerance.
    """
    chosen = targets.choose_precision("openvino", precision)
    network = network.eval()
    key = EngineKey(
        model=name, target="openvino", precision=chosen, shape=(),
        weights_sha256=sha256_of_weights(network.state_dict()),
        graph=f"{type(network).__name__} convolutional part v{GRAPH_VERSION}",
        library=targets.library_version("openvino"), device=targets.device_name("openvino"),
    )
    cache = EngineCache(cache_dir, report)
    pictures = _prepared(network, images) if images else []

    def build(folder: Path) -> dict[str, Any]:
        report(f"building openvino {chosen} of {name}; this is done once")
        converted = convert_convolutional_part(network)
        if chosen == "int8":
            if not pictures:
                raise UserError("int8 needs pictures to find its ranges; give some with images=")
            converted = quantize_openvino(converted, [p.numpy() for p in pictures])
        save_model(converted, folder / FILE)
        return {}

    stored = cache.load_or_build(key, build)
    made = EngineFasterRcnn(network, stored.folder / FILE, name=name, precision=chosen, threshold=threshold)
    if not stored.manifest.verify:
        result = _verify(network, made, pictures or [_drawn(network)], chosen)
        cache.record_verify(stored, result)
        report(f"verified: {made.name}: feature maps and proposals differ by {result['feature_error']:.2%}")
    else:
        result = stored.manifest.verify
    if not result["ok"]:
        made.close()
        raise UserError(
            f"engine refused: {made.name} differs from torch by {result['feature_error']:.1%}, allowed "
            f"{FEATURE_ERROR[chosen]:.1%}; use a higher precision: bf16 or fp32"
        )
    return made


def accelerate(detector: PersonDetector, report: Callable[[str], object] = print) -> PersonDetector:
    """Put a torchvision detector that would run in torch on the CPU on OpenVINO; any other comes back as it is.

    In fp32, whose boxes are proven to be torchvision's own; what bf16 does to them trained weights have yet to tell.

    Raises:
        UserError: as `build_person_detector`.
    """
    if not isinstance(detector, TorchvisionDetector) or detector.device.type != "cpu":
        return detector
    made = build_person_detector(
        detector.network, detector.model, precision="fp32", threshold=detector.threshold, report=report
    )
    made.notice = detector.notice.replace(detector.name, made.name)
    detector.close()
    return made


def convert_convolutional_part(network: Any) -> Any:
    """The part as an OpenVINO model with open height and width."""
    openvino = targets.require("openvino")
    example = torch.zeros(1, 3, 320, 320)
    recorded = trace(ConvolutionalPart(copy.deepcopy(network).eval().requires_grad_(False)), (example,))
    model = openvino.convert_model(recorded, example_input=example)
    model.reshape([1, 3, -1, -1])
    return model


def _verify(network: Any, made: EngineFasterRcnn, pictures: list[Tensor], precision: str) -> dict[str, Any]:
    off = norm = 0.0
    part, engine = ConvolutionalPart(network), made._network.backbone
    with torch.inference_mode():
        for picture in pictures:
            expected = part(picture)
            found = [*engine(picture).values(), *engine.rpn_outputs[0], *engine.rpn_outputs[1]]
            for a, b in zip(expected, found, strict=True):
                # Each output weighs the same, however large its numbers are.
                scale = max(float(a.norm()), 1e-9)
                off, norm = off + (float((a - b).norm()) / scale) ** 2, norm + 1.0
    error = float(np.sqrt(off / norm))
    return {"feature_error": error, "pictures": len(pictures), "ok": error <= FEATURE_ERROR[precision]}


def _prepared(network: Any, images: Sequence[np.ndarray]) -> list[Tensor]:
    """Pictures as torchvision's own transform gives them to the backbone."""
    prepared = []
    for image in images:
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1).float() / 255
        prepared.append(network.transform([rgb])[0].tensors)
    return prepared


def _drawn(network: Any) -> Tensor:
    from engine_build.clips import drawn_picture

    return _prepared(network, [drawn_picture((360, 480))])[0]


def _map_names(network: Any) -> list[str]:
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, 64, 64))
    return list(features) if isinstance(features, dict) else ["0"]
