"""Choosing a person detector: by name, or the best that is here and keeps up with a camera. Never downloads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from detector.device import pick_device
from detector.errors import UserError, perhaps
from detector.person import PersonDetector
from detector.weights.records import DetectorModel
from detector.weights.zoo import AUTO_DETECTOR, DETECTOR_MODELS, POSENET

FETCH_BETTER = "python -m detector.weights fetch recommended"
# Behind a detector's name: look for faces of hidden people too.
FACES = "+faces"
FETCH_POSENET = "python -m detector.weights fetch posenet"


def create_person_detector(
    name: str = "auto", threshold: float | None = None, device: str = "auto", num_threads: int = 0
) -> PersonDetector:
    """Create a person detector from what is on this machine.

    Args:
        name: one of `detector.weights.zoo.DETECTOR_MODELS`; a file of torchvision's Faster R-CNN weights (`person.pth`
            of `detector.training --recipe person`); or `auto`: the best whose weights are cached and that this machine
            runs in real time, else the SSDLite graph that came with the set-up. Any of them with `+faces` looks for
            people hidden behind others too, by their faces, with PoseNet: a search takes more than twice as long.
        threshold: confidence over which a box is a person, 0 to 1; None for the detector's own.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        num_threads: of SSDLite, on the CPU; 0 lets OpenVINO choose.

    Returns:
        The detector. Its `notice` is one line that says what was taken and which command gets a better one.

    Raises:
        UserError: unknown name, weights not cached, package missing, no such device; the line says what to run.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"person threshold: got {threshold}, expected 0 to 1")
    check_detector_name(name)
    if name.endswith(FACES):
        return _with_faces(create_person_detector(name.removesuffix(FACES), threshold, device, num_threads))
    chosen_device = pick_device(device)
    if name not in ("auto", *DETECTOR_MODELS):
        return _from_file(Path(name), threshold, chosen_device)
    if name != "auto":
        detector = _create(DETECTOR_MODELS[name], threshold, chosen_device, num_threads)
        detector.notice = f"people: {detector.name}"
        return detector
    model, better = _best_cached("cuda" if chosen_device.startswith("cuda") else "cpu")
    detector = _create(model, threshold, chosen_device, num_threads)
    detector.notice = f"people: {detector.name}" + (f"; for a better one: {FETCH_BETTER}" if better else "")
    return detector


def check_detector_name(name: str) -> None:
    """Refuse what is neither a detector's name nor a file, without loading anything.

    Raises:
        UserError: it is neither; the line names the nearest and all.
    """
    if name.endswith(FACES) and not Path(name).is_file():
        from detector.weights.cache import cached_package

        check_detector_name(name.removesuffix(FACES))
        if not cached_package(POSENET):
            raise UserError(f"person detector {name}: PoseNet is not cached; run: {FETCH_POSENET}")
        return
    if name in ("auto", *DETECTOR_MODELS) or Path(name).is_file():
        return
    if Path(name).suffix or "/" in name:
        raise UserError(f"person detector {name}: no such file")
    known, near = ", ".join(DETECTOR_MODELS), perhaps(name, DETECTOR_MODELS)
    raise UserError(f"person detector {name!r}: unknown, expected auto, {known} or a .pth file{near}")


def _with_faces(detector: PersonDetector) -> PersonDetector:
    from detector.person.faces import FaceFinder
    from detector.person.posenet import PoseNet
    from detector.weights.cache import cached_package

    paths = cached_package(POSENET)
    assert paths is not None  # `check_detector_name` has looked
    graph, tensors = paths[:2]
    found = FaceFinder(detector, PoseNet(graph, tensors))
    found.notice = detector.notice.replace(detector.name, found.name)
    return found


def _best_cached(kind_of_device: str) -> tuple[DetectorModel, bool]:
    """The record to use, and whether fetching would get a better one."""
    from detector.weights.cache import cached_path

    for rank, name in enumerate(AUTO_DETECTOR[kind_of_device]):
        model = DETECTOR_MODELS[name]
        if model.kind == "detectron2" and importlib.util.find_spec("detectron2") is None:
            continue
        if model.weights and cached_path(model.weights):
            return model, rank > 0
    return DETECTOR_MODELS["ssdlite"], True


def _from_file(path: Path, threshold: float | None, device: str) -> PersonDetector:
    """The user's own weights; which network they belong to is read off them."""
    from detector.person.faster_rcnn_torchvision import TorchvisionDetector, architecture_of

    model = architecture_of(path)
    wanted = DETECTOR_MODELS[model].threshold if threshold is None else threshold
    detector = TorchvisionDetector(model, path, wanted, device)
    detector.name = f"{model} {path.name} ({device})"
    detector.notice = f"people: {detector.name}"
    return detector


def _create(model: DetectorModel, threshold: float | None, device: str, num_threads: int) -> PersonDetector:
    wanted = model.threshold if threshold is None else threshold
    if model.kind == "ssdlite":
        from detector.person.ssdlite import SsdliteDetector

        return SsdliteDetector(wanted, num_threads=num_threads)
    from detector.weights.cache import require_cached

    assert model.weights is not None
    path = require_cached(model.name, model.weights)
    if model.kind == "torchvision":
        from detector.person.faster_rcnn_torchvision import TorchvisionDetector

        return TorchvisionDetector(model.name, path, wanted, device)
    from detector.person.faster_rcnn_detectron2 import Detectron2Detector

    return Detectron2Detector(model.name, path, wanted, device)
