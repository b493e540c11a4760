"""Figures of a network on held-out clips, and the files that go with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from detector.data.batches import ClipDataset, collate, quiet_worker
from detector.data.box_clips import BoxClips
from detector.data.video_clips import VideoClips
from detector.evaluation.ava import AvaResult, FrameEntries, collect_entries, evaluate_entries
from detector.evaluation.multiview import mean_average_precision, top_k_accuracy
from detector.labels import LabelMap
from detector.slowfast.precision import Precision, autocast


def score_items(
    network: nn.Module, dataset: ClipDataset, workers: int = 0, precision: Precision = "fp32"
) -> list[np.ndarray]:
    """Scores of every item, one clip at a time, so that clips may differ in size.

    Where several processes train together, each scores its share.

    Args:
        workers: processes that load clips; 0 loads them in this one.

    Returns:
        For each item (N, A) float32.
    """
    rank, size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    mine = range(rank, len(dataset), size)
    found = {index: scores for index, scores in _scored(network, dataset, mine, workers, precision)}  # noqa: C416
    if size > 1:
        gathered: list[Any] = [None] * size
        distributed.all_gather_object(gathered, found)
        found = {index: scores for part in gathered for index, scores in part.items()}
    return [found[index] for index in range(len(dataset))]


def _scored(
    network: nn.Module, dataset: ClipDataset, indices: range, workers: int, precision: Precision
) -> Iterator[tuple[int, np.ndarray]]:
    device = next(network.parameters()).device
    loader: Any = torch.utils.data.DataLoader(
        torch.utils.data.Subset(dataset, indices), collate_fn=collate,  # type: ignore[arg-type]
        num_workers=workers, worker_init_fn=quiet_worker,
    )
    with torch.inference_mode():
        for index, (frames, rois, _) in zip(indices, loader):
            with autocast(precision, device):
                scores = network(frames.to(device), None if rois is None else rois.to(device), activate=True)
            yield index, scores.float().cpu().numpy()


@dataclass
class BoxValidation:
    """Frame mAP on held-out key frames, with their labelled boxes or a person detector's.

    Attributes:
        dataset: without augmentation.
        labels: classes; those with `evaluated` count.
        workers: processes that load clips; 0 loads them in this one.
        truth: what is true; None takes it from the data set's own targets.
        folder: gets confusion.png and precision_recall.png at each new best; None writes nothing.
        note: what the figures count, told beside them: "mAP over 2 of 3 classes".
    """

    dataset: BoxClips
    labels: LabelMap
    workers: int = 0
    precision: Precision = "fp32"
    truth: FrameEntries | None = None
    folder: Path | None = None
    note: str = ""
    best: float = -1.0
    result: AvaResult | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """mAP, and top1: how often the best-scored action is one that the person does."""
        result, top1 = self.measure(score_items(network, self.dataset, self.workers, self.precision))
        return {"mAP": result.mean_ap} | ({} if top1 is None else {"top1": top1})

    def measure(self, scores: list[np.ndarray]) -> tuple[AvaResult, float | None]:
        """The same from scores of every item; top1 is None where nobody's actions are known."""
        counted = LabelMap(self.labels.name, tuple(a for a in self.labels if a.evaluated))
        truth = self.truth or collect_entries(self._rows(None), counted)
        self.result = evaluate_entries(truth, collect_entries(self._rows(scores), counted), counted)
        pairs = [
            (row, target)
            for index, rows in enumerate(scores)
            for row, target in zip(rows, self._targets(index))
            if np.nan_to_num(target).any()
        ]
        if not pairs:
            return self.result, None
        rows, targets = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        if self.folder is not None and self.result.mean_ap >= self.best:  # of equals the later, as in training
            self.best = self.result.mean_ap
            self._draw(rows, targets)
        return self.result, float(targets[np.arange(len(rows)), rows.argmax(1)].mean())

    def _targets(self, index: int) -> np.ndarray:
        number, _ = self.dataset.order[index]
        return self.dataset.samples[number].targets[self.dataset.people_of(index)]

    def _rows(self, scores: list[np.ndarray] | None) -> Iterator[tuple[Any, Any]]:
        for index, (number, _) in enumerate(self.dataset.order):
            sample = self.dataset.samples[number]
            yield sample.key, None
            for row, person in enumerate(self.dataset.people_of(index)):
                x1, y1, x2, y2 = sample.boxes[person].tolist()
                values = sample.targets[person] if scores is None else scores[index][row]
                for column, value in enumerate(values.tolist()):
                    if scores is not None or value == 1:
                        yield sample.key, (value, self.labels[column].id, y1, x1, y2, x2)

    def _draw(self, rows: np.ndarray, targets: np.ndarray) -> None:
        with suppress(ImportError):
            from detector.evaluation.plots import draw_confusion, draw_precision_recall

            assert self.folder is not None
            assert self.result is not None
            draw_precision_recall(self.result, self.folder / "precision_recall.png")
            single = np.nansum(targets, 1) == 1
            if len(self.labels) <= 60 and single.any():
                counts = np.zeros((len(self.labels), len(self.labels)), int)
                np.add.at(counts, (targets[single].argmax(1), rows[single].argmax(1)), 1)
                draw_confusion(counts, [a.short_name for a in self.labels], self.folder / "confusion.png")


@dataclass
class VideoValidation:
    """Top-1 and top-5 (one answer a video) or mAP (several) on one centre clip of each held-out video."""

    dataset: VideoClips
    several_answers: bool
    workers: int = 0
    precision: Precision = "fp32"

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """`top1` and `top5`, or `mAP`, 0 to 1."""
        scores = np.concatenate(score_items(network, self.dataset, self.workers, self.precision))
        targets = np.concatenate([v.targets(scores.shape[1]) for v in self.dataset.videos])
        if self.several_answers:
            return {"mAP": mean_average_precision(scores, targets)}
        columns = targets.argmax(1)
        return {f"top{k}": top_k_accuracy(scores, columns, k) for k in (1, 5)}
