"""Measure a model instead of a file: Kinetics and Charades with many views, AVA with given boxes.

The paper's protocols: 10 clips x 3 crops of 256 for Kinetics (scores averaged) and Charades (the best view a class,
section 4: "we temporally max-pool scores"); for AVA one view of the whole frame at short side 256, on people that
its detector finds with a confidence over 0.8.
"""

from __future__ import annotations

import copy
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from detector.data.box_clips import BoxClips
from detector.data.problems import Problems
from detector.data.samples import KeyFrameSample
from detector.data.transforms import flip_clip
from detector.data.video import VideoError, probe, read_frames
from detector.data.videos import CHARADES_FPS, LabelledVideo
from detector.errors import UserError
from detector.evaluation.multiview import classify_video, mean_average_precision, top_k_accuracy
from detector.views import FrameView, View
from detector.weights.records import ActionModel


@dataclass(frozen=True)
class Views:
    """How a video is looked at.

    Attributes:
        clips, crops: 10 and 3 make 30 views.
        short_side_px: height and width of a view.
        combine: "mean" (Kinetics) or "max" (Charades) over views.
    """

    clips: int = 10
    crops: int = 3
    short_side_px: int = 256
    combine: Literal["mean", "max"] = "mean"


def torch_scorer(network: torch.nn.Module, device: torch.device) -> Any:
    """A function from frames (B, T, H, W, 3) uint8 to scores (B, A) numpy."""
    network = network.eval().to(device)

    def score(frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(frames)).to(device)).float().cpu().numpy()

    return score


def score_videos(
    score: Any, videos: list[LabelledVideo], model: ActionModel, views: Views, problems: Problems
) -> tuple[np.ndarray, list[LabelledVideo]]:
    """Scores (N, A) of the videos that can be decoded, and which these are."""
    rows, kept = [], []
    for video in tqdm(videos, unit="video", disable=not sys.stderr.isatty()):
        try:
            info = probe(video.source, CHARADES_FPS)
            # The model's own frame rate is enough; a 60 fps file would only cost memory.
            fps = min(info.fps, model.sampling.fps)
            times = np.arange(max(round(info.duration_s * fps), 1)) / fps
            frames = read_frames(video.source, times, views.short_side_px, folder_fps=CHARADES_FPS)
        except VideoError as error:
            problems.add("broken video", video.place[0], video.place[1], f"{video.source}: {error}")
            continue
        rows.append(classify_video(
            score, frames, fps, model.sampling, views.clips, views.crops, views.short_side_px, views.combine
        ))
        kept.append(video)
    if not rows:
        raise UserError("evaluation: no video could be decoded")
    return np.stack(rows), kept


def measure_videos(scores: np.ndarray, videos: list[LabelledVideo], several_answers: bool) -> dict[str, float]:
    """`mAP` (Charades) or `top1` and `top5` (Kinetics), 0 to 1."""
    targets = np.concatenate([video.targets(scores.shape[1]) for video in videos])
    if several_answers:
        return {"mAP": mean_average_precision(scores, targets)}
    return {f"top{k}": top_k_accuracy(scores, targets.argmax(1), k) for k in (1, 5)}


class Mirrored:
    """The items of a data set with left and right exchanged."""

    def __init__(self, clips: BoxClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `BoxClips`: frames (T, h, w, 3), boxes (N, 4) in their pixels, targets (N, A)."""
        frames, boxes, targets = self.clips[index]
        frames, boxes = flip_clip(frames, boxes)
        return np.ascontiguousarray(frames), boxes, targets


def score_box_clips(
    score: Callable[[Any], list[np.ndarray]], clips: BoxClips, scales_px: Sequence[int] = (),
    flip: bool = False,
) -> list[np.ndarray]:
    """Scores of every item, averaged over short sides and mirror images: how the paper tests SlowFast++ on AVA.

    Args:
        score: gives the scores of a data set's items, (N, A) each.
        clips: without augmentation.
        scales_px: short sides of the frames; none: the view's own. A tube has no such scale.
        flip: look at the mirror image of each too.

    Raises:
        UserError: scales for a model that looks at tubes, or one that is not above 0.
    """
    if scales_px and not isinstance(clips.view, FrameView):
        raise UserError("--scales: this model looks at a tube round each person, which has no short side; leave it out")
    if any(scale < 32 for scale in scales_px):
        raise UserError(f"--scales: got {min(scales_px)}, expected short sides of at least 32 pixels")
    views: list[View] = [FrameView(scale) for scale in scales_px] or [clips.view]
    answers = []
    for view in views:
        looked = copy.copy(clips)
        looked.view = view
        answers.append(score(looked))
        if flip:
            answers.append(score(Mirrored(looked)))
    return [np.mean(rows, axis=0) for rows in zip(*answers, strict=True)]


def write_predictions(path: Path, clips: BoxClips, scores: list[np.ndarray], ids: list[int]) -> None:
    """Write an AVA CSV of every person and class: `video_id,timestamp,x1,y1,x2,y2,action_id,score`."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for index, rows in enumerate(scores):
            number, _ = clips.order[index]
            sample: KeyFrameSample = clips.samples[number]
            for row, person in zip(rows, clips.people_of(index)):
                corners = [f"{v:.4f}" for v in sample.boxes[person].tolist()]
                time = f"{sample.key[1] / 1e6:g}"
                for number_of_action, value in zip(ids, row.tolist()):
                    writer.writerow([sample.key[0], time, *corners, number_of_action, f"{value:.5f}"])
