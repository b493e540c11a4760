"""From a folder or file that a user names to the clips to train and validate on, one function a data set's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.data.ava import read_excluded, read_label_file
from detector.data.box_clips import BoxClips
from detector.data.problems import Problems
from detector.data.samples import (
    KeyFrameSample,
    add_proposals,
    check_sources,
    labels_of_file,
    read_samples,
    sources_beside,
    sources_in,
)
from detector.data.split import split_samples
from detector.data.video_clips import VideoClips
from detector.data.videos import read_charades, read_kinetics
from detector.errors import UserError
from detector.evaluation.ava import FrameEntries, read_entries
from detector.labels import LabelMap, load_labels
from detector.sampling import Sampling
from detector.training.paper import Plan
from detector.weights.records import ActionModel

# AVA movies are labelled from minute 15 to 30; the usual preparation cuts them there.
AVA_CUT_START_S = 900.0
VALIDATION_SHARE = 0.2


@dataclass
class Sources:
    """What a user asked to train on.

    Attributes:
        name: of the recipe.
        data: folder of the data set, or CSV of one's own.
        validation: CSV of one's own to validate on; None splits off a fifth of the videos.
        labels_file: what action ids mean; "" takes the data set's list, or names from the CSV.
        proposals: AVA's predicted boxes to train on too; None for ground truth alone.
        validation_boxes: AVA's predicted boxes to validate on; None for the labelled ones.
        box_score: least score of predicted boxes to validate on; 0.8 in the paper.
        problems: what is wrong with the files.
        training_sampling: moments that training clips show, where they show more than the model's own.
    """

    name: str
    data: Path
    validation: Path | None
    labels_file: str
    proposals: Path | None
    validation_boxes: Path | None
    box_score: float
    problems: Problems
    training_sampling: Sampling | None = None

    def labels(self) -> LabelMap:
        """The classes to learn."""
        if self.labels_file:
            return read_label_file(self.labels_file)
        if self.name in ("finetune", "person") and self.data.is_file():
            return labels_of_file(self.data, self.problems)
        return load_labels({"kinetics": "kinetics400", "charades": "charades"}.get(self.name, "ava"))


@dataclass
class Clips:
    """Training and validation clips.

    Attributes:
        truth: what predictions are measured against where boxes are predicted.
        note: how a data set without a validation part of its own was parted.
    """

    train: BoxClips | VideoClips
    validation: BoxClips | VideoClips
    truth: FrameEntries | None = None
    note: str = ""


def open_clips(sources: Sources, plan: Plan, model: ActionModel) -> Clips:
    """Read the files and open every video once.

    Raises:
        UserError: files are missing or, unless they are skipped, anything in them is wrong.
    """
    if plan.kind == "videos":
        clips = _videos(sources, plan, model)
    elif sources.data.is_file():
        clips = _own_boxes(sources, plan, model)
    else:
        clips = _ava(sources, plan, model)
    sources.problems.report()
    return clips


def _own_boxes(sources: Sources, plan: Plan, model: ActionModel) -> Clips:
    def read(path: Path) -> list[KeyFrameSample]:
        samples = read_samples(path, model.labels, sources_beside(path), sources.problems)
        return check_sources(samples, sources.problems)

    samples = read(sources.data)
    note = ""
    if sources.validation is not None:
        train, validation = samples, read(sources.validation)
    else:
        split = split_samples(samples, VALIDATION_SHARE, [action.short_name for action in model.labels])
        train, validation, note = split.train, split.validation, split.note
    if not train or not validation:
        raise UserError(f"{sources.data}: {len(samples)} key frame(s) are too few to train and validate on")
    return Clips(
        _box_clips(train, plan, model, True, sources), _box_clips(validation, plan, model, False, sources), note=note
    )


def _box_clips(
    samples: list[KeyFrameSample], plan: Plan, model: ActionModel, training: bool, sources: Sources
) -> BoxClips:
    sampling = (sources.training_sampling if training else None) or model.sampling
    return BoxClips(
        samples, sampling, model.view, plan.augmentation if training else None, sources.problems.skip
    )


def _ava(sources: Sources, plan: Plan, model: ActionModel) -> Clips:
    find, start_s = _ava_videos(sources.data)
    parts = []
    for part in ("train", "val"):
        path = _one_of(sources.data, [f"ava_{part}_v2.2.csv", f"ava_{part}_v2.1.csv"])
        excluded_name = path.name.replace(f"ava_{part}_", f"ava_{part}_excluded_timestamps_")
        excluded_path = _find(sources.data, excluded_name)
        excluded = read_excluded(excluded_path, sources.problems) if excluded_path else set()
        samples = read_samples(
            path, model.labels, find, sources.problems, start_s=start_s, excluded=excluded
        )
        parts.append((path, check_sources(samples, sources.problems)))
    (_, train), (val_path, validation) = parts
    if sources.proposals is not None:
        train = add_proposals(train, sources.proposals, sources.problems)
    truth = None
    if sources.validation_boxes is not None:
        counted = LabelMap(model.labels.name, tuple(a for a in model.labels if a.evaluated))
        truth = read_entries(val_path, counted, sources.problems, scored=False)
        validation = _with_predicted_boxes(validation, sources)
    return Clips(
        _box_clips(train, plan, model, True, sources), _box_clips(validation, plan, model, False, sources), truth
    )


def _with_predicted_boxes(samples: list[KeyFrameSample], sources: Sources) -> list[KeyFrameSample]:
    """Key frames with a person detector's boxes in place of the labelled ones, targets unknown."""
    bare = [
        KeyFrameSample(s.key, s.source, s.time_s, np.zeros((0, 4), np.float32), s.targets[:0], s.place)
        for s in samples
    ]
    assert sources.validation_boxes is not None
    from detector.data.ava import read_rows

    boxes: dict[tuple[str, int], dict[tuple[float, ...], None]] = {}
    for row in read_rows(sources.validation_boxes, sources.problems):
        # The reader has seen to it that the last column is a number.
        if row.box is not None and float(row.last or 1) >= sources.box_score:
            boxes.setdefault(row.key, {})[row.box] = None
    result = []
    for sample in bare:
        found = np.array(list(boxes.get(sample.key, {})), np.float32).reshape(-1, 4).clip(0, 1)
        targets = np.full((len(found), sample.targets.shape[1]), np.nan, np.float32)
        result.append(KeyFrameSample(sample.key, sample.source, sample.time_s, found, targets, sample.place))
    return [sample for sample in result if len(sample.boxes)]


def _ava_videos(folder: Path) -> tuple[Callable[[str], Path | None], float]:
    for name, start_s in (("frames", AVA_CUT_START_S), ("videos_15min", AVA_CUT_START_S), ("videos", 0.0)):
        if (folder / name).is_dir():
            return sources_in(folder / name), start_s
    raise UserError(
        f"{folder}: expected a folder of AVA's movies in it: frames/ (pictures at 30 fps from 15:00), videos_15min/ "
        "(cut at 15:00) or videos/ (whole)"
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / "annotations" / name) if p.is_file()), None)


def _one_of(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = _find(folder, name)
        if path is not None:
            return path
    raise UserError(f"{folder}: expected {' or '.join(names)} in it or in its annotations/")


def _videos(sources: Sources, plan: Plan, model: ActionModel) -> Clips:
    charades = sources.name == "charades"
    read = read_charades if charades else read_kinetics
    names = {
        "train": ["Charades_v1_train.csv", "train.csv", "frame_lists/train.csv"] if charades else ["train.csv"],
        "val": ["Charades_v1_test.csv", "val.csv", "frame_lists/val.csv"] if charades else ["val.csv", "validate.csv"],
    }
    parts = []
    for part in ("train", "val"):
        path = _one_of(sources.data, names[part])
        parts.append(read(path, model.labels, sources.data, sources.problems))
    skip = sources.problems.skip
    return Clips(
        VideoClips(parts[0], len(model.labels), model.sampling, plan.augmentation, skip_broken=skip),
        VideoClips(parts[1], len(model.labels), model.sampling, skip_broken=skip),
    )
