"""torchvision's Faster R-CNN with its convolutional part on a fast engine; proposals, RoI heads and NMS stay torch's.

Backbone, FPN and the RPN's head are one graph from the normalised picture to feature maps, objectness and deltas.
The whole detector would export too, but its data-dependent shapes cannot be quantised. torchvision's own code runs
everything round the graph, so boxes are its boxes. On a CPU the graph runs in OpenVINO; on a GPU in TensorRT or
TensorRT-RTX, and what torch does round it stays on the GPU.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import UserError
from detector.person import PersonDetector
from detector.person.faces import FaceFinder
from detector.person.faster_rcnn_torchvision import FasterRcnn, TorchvisionDetector
from engine_build import targets
from engine_build.build_tensorrt import TIMING_CACHE, build_engine_file
from engine_build.cache import EngineCache, StoredEngine
from engine_build.libraries import INSTALL, cpu_core
from engine_build.manifest import GRAPH_VERSION, EngineKey, sha256_of_weights
from engine_build.person_part import (
    convert_convolutional_part,
    copied_part,
    export_convolutional_part,
    map_names,
    output_names,
    picture_profile,
)
from engine_build.quantize import quantize_openvino
from engine_build.run_openvino import compile_cpu, save_model

FILES = {"openvino": "detector.xml", "tensorrt": "detector.engine", "tensorrt_rtx": "detector.engine"}
# TensorRT's int8 needs its scales in the graph, and only the trunk's are made (`qdq.py`).
PRECISIONS = {
    "openvino": ("fp32", "bf16", "int8"), "tensorrt": ("fp32", "fp16"), "tensorrt_rtx": ("fp32", "fp16"),
}
# Compiled picture sizes that stay in memory.
MAX_SIZES = 4
# Relative error of feature maps and RPN outputs: NMS turns more than this into other boxes.
FEATURE_ERROR = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 3e-2, "int8": 3e-1}


class PictureGraph(Protocol):
    """Runs a `ConvolutionalPart`. Loaded, run and freed in one thread.

    Attributes:
        description: as shown in the status line: `openvino fp32`.
        device: where pictures are to be, and where outputs are.
    """

    description: str
    device: torch.device

    def run(self, picture: Tensor) -> list[Tensor]:
        """(1, 3, H, W) float32 → the part's outputs, in its order; good until the next call."""
        ...

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        ...


class EngineFasterRcnn(FasterRcnn):
    """Finds people with a Faster R-CNN whose convolutional part runs on an engine."""

    def __init__(self, network: Any, graph: PictureGraph, *, name: str, threshold: float = 0.8) -> None:
        """
        Args:
            network: torchvision's `FasterRCNN` with its weights, in eval mode; copied without its backbone.
            graph: runs its `ConvolutionalPart`; freed with the detector.
            name: of the weights, for the status line.
            threshold: confidence over which a box is a person.
        """
        self._graph = graph
        engine = _EngineBackbone(graph, map_names(network))
        backbone, head = network.backbone, network.rpn.head
        # Copy all but the large part, which the engine replaces.
        network.backbone, network.rpn.head = nn.Identity(), nn.Identity()
        try:
            copied: Any = copy.deepcopy(network).eval().to(graph.device)
        finally:
            network.backbone, network.rpn.head = backbone, head
        copied.backbone, copied.rpn.head = engine, _EngineRpnHead(engine)
        super().__init__(f"{name} ({graph.description})", copied, threshold, graph.device)

    @torch.inference_mode()
    def detect_all(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        """What torchvision's network itself returns for (3, H, W) float pictures 0..1: all classes."""
        return self.network([picture.to(self.device) for picture in pictures])

    def close(self) -> None:
        """Free the engine."""
        self._graph.close()
        super().close()


class OpenVinoPictures:
    """A `ConvolutionalPart` as OpenVINO's file on the CPU; see `PictureGraph`."""

    def __init__(self, path: Path, precision: str) -> None:
        """
        Args:
            path: of the `.xml`.
            precision: `fp32`, `bf16` or `int8`.
        """
        self.description, self.device = f"openvino {precision}", torch.device("cpu")
        self._model: Any = cpu_core().read_model(str(path))
        self._precision = precision
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def run(self, picture: Tensor) -> list[Tensor]:
        """(1, 3, H, W) float32 → the part's outputs: copies to keep."""
        request = self._request(tuple(picture.shape))
        request.infer([picture.numpy()], share_inputs=True)
        return [torch.from_numpy(output.data.copy()) for output in request.output_tensors]

    def close(self) -> None:
        """Free the compiled graphs. May be called twice."""
        self._requests.clear()
        self._model = None

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(shape))
            self._requests[shape] = compile_cpu(model, self._precision).create_infer_request()
            if len(self._requests) > MAX_SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        return self._requests[shape]


class _EngineBackbone(nn.Module):
    """In place of torchvision's backbone; keeps the RPN head's outputs for `_EngineRpnHead`."""

    def __init__(self, graph: PictureGraph, names: list[str]) -> None:
        super().__init__()
        self._graph, self._names = graph, names
        self.rpn_outputs: tuple[list[Tensor], list[Tensor]] = ([], [])

    def forward(self, pictures: Tensor) -> OrderedDict[str, Tensor]:
        outputs = self._graph.run(pictures)
        n = len(self._names)
        self.rpn_outputs = (outputs[n : 2 * n], outputs[2 * n :])
        return OrderedDict(zip(self._names, outputs[:n]))


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
    target: Literal["auto", "openvino", "tensorrt", "tensorrt_rtx"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
    threshold: float = 0.8,
    images: Sequence[np.ndarray] | None = None,
    cache_dir: Path | str | None = None,
    report: Callable[[str], object] = print,
) -> EngineFasterRcnn:
    """Put a Faster R-CNN's convolutional part on an engine, or take it from the cache.

    Args:
        network: torchvision's `FasterRCNN` with its weights, on any device.
        name: of the weights.
        target: "auto" is TensorRT or TensorRT-RTX where there is a GPU, else OpenVINO.
        precision: "auto" is fp16 on a GPU; on a CPU bf16 where it gains by it, else fp32.
        threshold: confidence over which a box is a person.
        images: (H, W, 3) uint8 BGR pictures: int8's ranges come from them, and all is verified on them.
        cache_dir: of engines; the user's where None.
        report: takes lines about what happens.

    Raises:
        UserError: a library or GPU is missing, int8 has no pictures, or the engine is out of tolerance.
    """
    chosen = targets.choose_target(target)
    if chosen not in PRECISIONS:
        raise UserError(f"no engine for person detectors here, only {chosen}; run: {INSTALL['tensorrt']}")
    if precision != "auto" and precision not in PRECISIONS[chosen]:
        known = ", ".join(PRECISIONS[chosen])
        raise UserError(f"person detector: got precision {precision!r}, expected auto or one of {known} for {chosen}")
    exact = targets.choose_precision(chosen, precision)
    network = network.eval()
    sizes = "" if chosen == "openvino" else f" {picture_profile(network.transform)}"
    key = EngineKey(
        model=name, target=chosen, precision=exact, shape=(),
        weights_sha256=sha256_of_weights(network.state_dict()),
        graph=f"{type(network).__name__} convolutional part v{GRAPH_VERSION}{sizes}",
        library=targets.library_version(chosen), device=targets.device_name(chosen),
    )
    cache = EngineCache(cache_dir, report)
    pictures = _prepared(network, images) if images else []

    def build(folder: Path) -> dict[str, Any]:
        report(f"building {chosen} {exact} of {name}; this is done once")
        if chosen == "openvino":
            _build_openvino(network, folder, exact, pictures)
        else:
            _build_tensorrt(network, folder, chosen, exact, report)
        return {}

    stored = cache.load_or_build(key, build)
    made = EngineFasterRcnn(network, open_graph(stored, network), name=name, threshold=threshold)
    if not stored.manifest.verify:
        result = _verify(network, made, pictures or [_drawn(network)], exact)
        cache.record_verify(stored, result)
        report(f"verified: {made.name}: feature maps and proposals differ by {result['feature_error']:.2%}")
    else:
        result = stored.manifest.verify
    if not result["ok"]:
        made.close()
        higher = PRECISIONS[chosen][: PRECISIONS[chosen].index(exact)]
        raise UserError(
            f"engine refused: {made.name} differs from torch by {result['feature_error']:.1%}, allowed "
            f"{FEATURE_ERROR[exact]:.1%}; use {'a higher precision: ' + ' or '.join(higher) if higher else 'torch'}"
        )
    return made


def accelerate(detector: PersonDetector, report: Callable[[str], object] = print) -> PersonDetector:
    """Put a torchvision detector, alone or with a search for faces, on the engine of its device; others stay.

    OpenVINO on a CPU; TensorRT or TensorRT-RTX on a GPU where they are installed, with pycuda. Where the engine cannot
    be had, the reason is reported and torch goes on: that costs speed alone. In fp32, whose boxes are proven to be
    torchvision's own; what fewer bits do to them trained weights have yet to tell.
    """
    if isinstance(detector, FaceFinder):
        return detector.around(accelerate(detector.people, report))
    if not isinstance(detector, TorchvisionDetector):
        return detector
    target = _target_for(detector.device)
    if target is None:
        return detector
    try:
        made = build_person_detector(
            detector.network, detector.model, target=target, precision="fp32", threshold=detector.threshold,
            report=report,
        )
    except UserError as error:
        report(f"people: torch finds them, not {target}: {error}")
        return detector
    made.notice = detector.notice.replace(detector.name, made.name)
    detector.close()
    return made


def open_graph(stored: StoredEngine, network: Any) -> PictureGraph:
    """Load a built engine.

    Args:
        stored: of `build_person_detector`'s key.
        network: what it was built from; the names of its feature maps matter.
    """
    key = stored.manifest.key
    path = stored.folder / FILES[key.target]
    if key.target == "openvino":
        return OpenVinoPictures(path, key.precision)
    from engine_build.run_tensorrt import RUNTIME_CACHE, TensorRtPictures

    # Beside the engine's folder, whose files are all under the manifest's checksums.
    runtime_cache = stored.folder.with_name(f"{stored.folder.name}-{RUNTIME_CACHE}")
    return TensorRtPictures(path, output_names(network), key.target, key.precision, runtime_cache)


def _target_for(device: torch.device) -> Literal["openvino", "tensorrt", "tensorrt_rtx"] | None:
    """The engine for a detector on a device; None where torch is the best there is."""
    if device.type == "cpu":
        return "openvino"
    # The runner works on torch's current GPU.
    if device.type != "cuda" or device.index not in (None, torch.cuda.current_device()):
        return None
    chosen = targets.choose_target("auto")
    return chosen if chosen in ("tensorrt", "tensorrt_rtx") else None  # type: ignore[return-value]


def _build_openvino(network: Any, folder: Path, precision: str, pictures: list[Tensor]) -> None:
    converted = convert_convolutional_part(network)
    if precision == "int8":
        if not pictures:
            raise UserError("int8 needs pictures to find its ranges; give some with images=")
        converted = quantize_openvino(converted, [p.numpy() for p in pictures])
    save_model(converted, folder / FILES["openvino"])


def _build_tensorrt(
    network: Any, folder: Path, target: str, precision: str, report: Callable[[str], object]
) -> None:
    onnx_path = folder / "detector.onnx"
    export_convolutional_part(network, onnx_path, precision)
    build_engine_file(
        target, onnx_path, folder / FILES[target], picture_profile(network.transform),
        timing_cache=folder.parent / f"{target}-{TIMING_CACHE}", report=report,
    )
    onnx_path.unlink()


def _verify(network: Any, made: EngineFasterRcnn, pictures: list[Tensor], precision: str) -> dict[str, Any]:
    off = norm = 0.0
    # On the CPU: torch's convolutions on a GPU round to TF32.
    part, graph = copied_part(network), made._graph
    with torch.inference_mode():
        for picture in pictures:
            expected = part(picture)
            found = [output.cpu() for output in graph.run(picture.to(graph.device))]
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
