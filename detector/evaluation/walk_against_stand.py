"""Walk against stand on vtest.avi: true boxes or a whole stream's, beside a heuristic and with frozen frames."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from detector.evaluation.real_clips import Video, load_video, pose_columns, score_people
from detector.labels import load_labels
from detector.types import Boxes, Clip, iou
from detector.weights.records import ActionModel


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive scores higher than a negative, ties counting half (Mann-Whitney)."""
    above = scores[positive][:, None] - scores[~positive][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def balanced_accuracy(guess: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the shares of positives and of negatives that are guessed right; both (N,) bool."""
    return float((guess[truth].mean() + (~guess[~truth]).mean()) / 2)


def best_threshold_accuracy(scores: np.ndarray, positive: np.ndarray) -> float:
    """Balanced accuracy at the threshold that is best on these very data: an upper bound."""
    return max(balanced_accuracy(scores >= s, positive) for s in np.unique(scores))


def mean_difference(clip: Clip, box: np.ndarray) -> float:
    """The heuristic: mean absolute change of gray from frame to frame inside a box of the key frame."""
    h, w = clip.size_hw
    full_h, full_w = clip.key_frame.size_hw
    x1, x2 = (round(v * w / full_w) for v in (max(box[0], 0), box[2]))
    y1, y2 = (round(v * h / full_h) for v in (max(box[1], 0), box[3]))
    gray = clip.images[:, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].astype(np.float32).mean(-1)
    return float(np.abs(np.diff(gray, axis=0)).mean())


def read_walkers(path: Path) -> list[tuple[int, int, np.ndarray, str]]:
    """Rows of a labels file that count: (0-based frame, track, xyxy box, "walk" or "stand")."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["visible"] == "1" and row["pose"] in ("walk", "stand"):
                x, y, w, h = (float(row[k]) for k in ("left_px", "top_px", "width_px", "height_px"))
                box = np.array([x, y, x + w, y + h], np.float32)
                rows.append((int(row["frame"]) - 1, int(row["track_id"]), box, row["pose"]))
    return rows


def walk_against_stand(network: torch.nn.Module, model: ActionModel, media: Path, jitter: float = 0.0,
                       fps: float | None = None) -> dict[str, float]:
    """vtest.avi with the true boxes of vtest_labels.csv.

    Args:
        jitter: standard deviation of random shifts of the boxes' sides, in box sizes.
        fps: believe this rate instead of the file's.
    """
    rows = read_walkers(media / "vtest_labels.csv")
    enough = max(row[0] for row in rows) + 60
    video = load_video(media / "vtest.avi", model.view.short_side_px, enough)
    if fps:
        video = Video(video.images, fps, video.size_hw, video.path)
    rng = np.random.default_rng(0)
    walk, stand = model.labels.find("walk"), model.labels.find("stand")
    scores, frozen, heuristic, truth = [], [], [], []
    top: Counter[tuple[str, str]] = Counter()
    for frame, _, box, pose in rows:
        size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        boxes = Boxes(box + size * rng.normal(0, 1, 4) * jitter, np.ones(1))
        clip = video.clip_at(frame / video.fps, model)
        row = score_people(network, model, clip, boxes)[0]
        still = score_people(network, model, video.clip_at(frame / video.fps, model, frozen=True), boxes)[0]
        scores.append(_margin(row, walk, stand))
        frozen.append(_margin(still, walk, stand))
        heuristic.append(mean_difference(clip, box))
        truth.append(pose == "walk")
        top[(pose, model.labels[int(row[pose_columns(model)].argmax())].short_name)] += 1
    s, f, h, t = (np.array(v) for v in (scores, frozen, heuristic, truth))
    print("vtest, top pose over all poses:", {f"{a}→{b}": n for (a, b), n in sorted(top.items())})
    return {
        "people": len(t), "standing": int((~t).sum()), "balanced": balanced_accuracy(s > 0, t),
        "walk_recall": float((s > 0)[t].mean()), "stand_recall": float((s <= 0)[~t].mean()),
        **{f"{name}_top1": top[(name, name)] / max(sum(n for (a, _), n in top.items() if a == name), 1)
           for name in ("walk", "stand")},
        "auc": area_under_roc(s, t), "best_threshold": best_threshold_accuracy(s, t),
        "heuristic_best_threshold": best_threshold_accuracy(h, t), "heuristic_auc": area_under_roc(h, t),
        "frozen_balanced": balanced_accuracy(f > 0, t), "frozen_auc": area_under_roc(f, t),
    }


def walk_against_stand_streamed(labels: Path, scores: Path, size_wh: tuple[int, int] = (768, 576)) -> dict[str, float]:
    """The same from a run of the whole pipeline with its own detector and tracks.

    Args:
        labels: vtest_labels.csv. A label of frame 10 n is compared with the answer at second n, one frame later.
        scores: what `stream.webcam --every 1 --ava-csv` wrote.

    Returns:
        People labelled, found (IoU 0.5), and balanced accuracy and AUC over those found.
    """
    ava = load_labels("ava")
    ids = {ava[ava.find(name)].id: name for name in ("walk", "stand")}
    said: dict[int, dict[tuple[float, ...], dict[str, float]]] = {}
    with scores.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            corners = tuple(float(v) * size for v, size in zip(row[2:6], size_wh * 2, strict=True))
            people = said.setdefault(round(float(row[1])), {}).setdefault(corners, {"walk": 0.0, "stand": 0.0})
            if int(row[6]) in ids:
                people[ids[int(row[6])]] = float(row[7])
    margins, truth, total = [], [], 0
    for frame, _, box, pose in read_walkers(labels):
        total += 1
        found = {
            float(iou(np.array([b]), box[None])[0, 0]): people
            for b, people in said.get(round((frame + 1) / 10), {}).items()
        }
        if found and max(found) >= 0.5:
            margins.append(_margin(np.array([found[max(found)]["walk"], found[max(found)]["stand"]]), 0, 1))
            truth.append(pose == "walk")
    m, t = np.array(margins), np.array(truth, bool)
    return {"people": total, "found": len(m), "standing_found": int((~t).sum()),
            "balanced": balanced_accuracy(m > 0, t), "auc": area_under_roc(m, t)}


def _margin(row: np.ndarray, walk: int, stand: int) -> float:
    p = np.clip(row[[walk, stand]].astype(np.float64), 1e-9, 1 - 1e-9)
    logits = np.log(p) - np.log1p(-p)
    return float(logits[0] - logits[1])
