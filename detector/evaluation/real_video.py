"""What an action model says about real video: proofs that a model trained on renders works, or does not.

    python -m detector.evaluation.real_video --media ../shared/media --weights auto

Walk against stand on true boxes, beside a heuristic and with frozen frames; and labelled single-action clips with
boxes of the person detector. The videos are for measuring only and are no part of the project; see `--media`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from detector.errors import UserError, run_command
from detector.labels import load_labels
from detector.models import ActionModel
from detector.types import Boxes, Clip, Frame
from detector.views import FrameView
from detector.weights import load_action_model, resolve_action_model

KEY_EVERY_S = 0.2
NEAR_S = 0.5  # a person whom the detector misses keeps the box of a moment this near


@dataclass(frozen=True)
class Video:
    """A decoded video: frames as a model's ring holds them, and how to cut clips from it.

    Attributes:
        images: (F, h, w, 3) uint8 RGB, resized.
        fps: frames a second, as the file says.
        size_hw: of the full-size frames.
        path: the file.
    """

    images: np.ndarray
    fps: float
    size_hw: tuple[int, int]
    path: Path

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.images) / self.fps

    def clip_at(self, time_s: float, model: ActionModel, frozen: bool = False) -> Clip:
        """The clip whose key frame is nearest to a moment; ends are held, as at a stream's ends."""
        offsets = model.sampling.offsets_s * (0 if frozen else 1)
        index = np.clip(np.round((time_s + offsets) * self.fps), 0, len(self.images) - 1).astype(int)
        key = Frame(np.zeros((*self.size_hw, 3), np.uint8), int(index[model.sampling.key_index]), time_s)
        return Clip(self.images[index], key, model.sampling.key_index)


def load_video(path: Path, short_side_px: int, max_frames: int = 0) -> Video:
    """Decode a whole (short) video, or its first `max_frames`.

    Raises:
        UserError: it cannot be read.
    """
    capture = cv2.VideoCapture(str(path))
    images: list[np.ndarray] = []
    size = (0, 0)
    while not max_frames or len(images) < max_frames:
        good, frame = capture.read()
        if not good:
            break
        size = frame.shape[:2]
        scale = short_side_px / min(size)
        wh = (int(size[1] * scale + 1e-6), int(size[0] * scale + 1e-6))
        images.append(cv2.resize(frame, wh, interpolation=cv2.INTER_LINEAR)[..., ::-1])
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    if not images:
        raise UserError(f"video {path}: cannot be read")
    return Video(np.stack(images), fps or 30.0, size, path)


@torch.inference_mode()
def score_people(network: torch.nn.Module, model: ActionModel, clip: Clip, boxes: Boxes) -> np.ndarray:
    """(N, A) float32 scores of the people of one clip."""
    if not len(boxes):
        return np.zeros((0, len(model.labels)), np.float32)
    frames, rois = model.view.prepare(clip, boxes)
    return network(torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(rois)).float().numpy()


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
        top[(pose, model.labels[int(row[_pose_columns(model)].argmax())].short_name)] += 1
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
        found = {_overlap(np.array(b), box): people for b, people in said.get(round((frame + 1) / 10), {}).items()}
        if found and max(found) >= 0.5:
            margins.append(_margin(np.array([found[max(found)]["walk"], found[max(found)]["stand"]]), 0, 1))
            truth.append(pose == "walk")
    m, t = np.array(margins), np.array(truth, bool)
    return {"people": total, "found": len(m), "standing_found": int((~t).sum()),
            "balanced": balanced_accuracy(m > 0, t), "auc": area_under_roc(m, t)}


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    wh = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(wh, 0)))
    return both / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both + 1e-9)


def _margin(row: np.ndarray, walk: int, stand: int) -> float:
    p = np.clip(row[[walk, stand]].astype(np.float64), 1e-9, 1 - 1e-9)
    logits = np.log(p) - np.log1p(-p)
    return float(logits[0] - logits[1])


def _pose_columns(model: ActionModel) -> list[int]:
    return [j for j, action in enumerate(model.labels) if action.group == "pose"]


class DetectedPeople:
    """Boxes of the person detector at a video's key frames, computed once and kept in a JSON file."""

    def __init__(self, cache: Path | None, name: str = "auto") -> None:
        self.cache, self.name = cache, name

    def of(self, path: Path) -> list[tuple[float, Boxes]]:
        """(seconds, people) every `KEY_EVERY_S` of a video; the detector sees every key frame in order."""
        kept = self.cache / f"{path.name}.json" if self.cache else None
        if kept and kept.exists():
            return [(t, Boxes(np.array(b), np.array(s))) for t, b, s in json.loads(kept.read_text())]
        from detector.person.select import create_person_detector

        detector = create_person_detector(self.name)
        found = []
        try:
            capture = cv2.VideoCapture(str(path))
            fps, index, due = capture.get(cv2.CAP_PROP_FPS) or 30.0, 0, 0.0
            while True:
                good, frame = capture.read()
                if not good:
                    break
                if index / fps >= due - 1e-9:
                    found.append((index / fps, detector.detect(frame)))
                    due += KEY_EVERY_S
                index += 1
            capture.release()
        finally:
            detector.close()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps([(t, b.xyxy.tolist(), b.score.tolist()) for t, b in found]))
        return found


def _largest(boxes: Boxes) -> int:
    size = (boxes.xyxy[:, 2] - boxes.xyxy[:, 0]) * (boxes.xyxy[:, 3] - boxes.xyxy[:, 1])
    return int((size * boxes.score).argmax())


def _rightmost(boxes: Boxes) -> int:
    return int((boxes.xyxy[:, 0] + boxes.xyxy[:, 2]).argmax())


def people_of_interest(found: list[tuple[float, Boxes]], choose=_largest) -> list[tuple[float, Boxes | None]]:
    """(seconds, one box or None) a key frame; misses are filled from the nearest sighting within `NEAR_S`."""
    seen = [(t, b[[choose(b)]]) for t, b in found if len(b)]
    out: list[tuple[float, Boxes | None]] = []
    for t, _ in found:
        nearest = min(seen, key=lambda s: abs(s[0] - t), default=None)
        out.append((t, nearest[1] if nearest and abs(nearest[0] - t) <= NEAR_S else None))
    return out


@dataclass(frozen=True)
class SegmentResult:
    """How often the label was first or among the first two, over a segment's key frames."""

    name: str
    label: str
    key_frames: int
    top1: float
    top2: float
    said: dict[str, int]


def score_segment(network: torch.nn.Module, model: ActionModel, video: Video,
                  people: list[tuple[float, Boxes | None]], label: str, start_s: float, end_s: float) -> SegmentResult:
    """Ranks of one label over a segment. Poses are ranked among poses; other actions by their own threshold."""
    column = model.labels.find(label)
    poses = _pose_columns(model)
    ranks: list[int] = []
    said: Counter[str] = Counter()
    for t, box in people:
        if box is None or not start_s - 1e-6 <= t <= end_s + 1e-6:
            continue
        row = score_people(network, model, video.clip_at(t, model), box)[0]
        said[model.labels[poses[int(row[poses].argmax())]].short_name] += 1
        if column in poses:
            ranks.append(int((row[poses] > row[column]).sum()))
        else:
            threshold = model.labels.default_thresholds()[column]
            ranks.append(0 if row[column] >= threshold else 1 if row[column] >= threshold / 2 else 2)
    r = np.array(ranks)
    top1, top2 = (float((r < k).mean()) if len(r) else float("nan") for k in (1, 2))
    return SegmentResult(video.path.stem, label, len(r), top1, top2, dict(said.most_common(4)))


def read_segments(path: Path) -> list[tuple[str, str, float, float]]:
    """(file, label, start, end seconds) of a clips.csv; no seconds means the whole clip."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row["seconds"].strip()
            parts = text.split("-")
            timed = len(parts) == 2 and all(p.replace(".", "", 1).isdigit() for p in parts)
            start, end = (float(parts[0]), float(parts[1])) if timed else (0.0, 1e9)
            rows.append((row["file"], row["label"], start, end))
    return rows


def labelled_clips(network: torch.nn.Module, model: ActionModel, media: Path,
                   people: DetectedPeople) -> list[SegmentResult]:
    """bedroom.mp4, juggle.mp4 and the single-action clips of actions/clips.csv."""
    work: list[tuple[Path, str, float, float, object]] = []
    if (media / "bedroom.mp4").exists():
        work += [(media / "bedroom.mp4", "jump/leap", 0.0, 1e9, _rightmost)]
        work += [(media / "juggle.mp4", "stand", 0.0, 1e9, _largest)]
    if (media / "actions/clips.csv").exists():
        work += [(media / "actions" / f, label, a, b, _largest)
                 for f, label, a, b in read_segments(media / "actions/clips.csv")]
    results, loaded = [], {}
    for path, label, start, end, choose in work:
        if path not in loaded:
            loaded = {path: load_video(path, model.view.short_side_px)}
        chosen = people_of_interest(people.of(path), choose)
        results.append(score_segment(network, model, loaded[path], chosen, label, start, end))
    return results


def print_table(results: Sequence[SegmentResult]) -> None:
    """One line a segment, then one a class."""
    print(f"{'clip':34s} {'label':24s} {'n':>4s} {'top-1':>6s} {'top-2':>6s}  said")
    for r in results:
        print(f"{r.name:34s} {r.label:24s} {r.key_frames:4d} {r.top1:6.2f} {r.top2:6.2f}  {r.said}")
    for label in dict.fromkeys(r.label for r in results):
        rows = [r for r in results if r.label == label and r.key_frames]
        total = sum(r.key_frames for r in rows)
        if total:
            top1, top2 = (sum(getattr(r, k) * r.key_frames for r in rows) / total for k in ("top1", "top2"))
            where = f"{total:4d} key frames of {len(rows)} segments"
            print(f"class {label:24s} {where}: top-1 {top1:.2f}, top-2 {top2:.2f}")


def main() -> None:
    """Run all proofs and print tables."""
    parser = argparse.ArgumentParser(description="Measure an action model on real, labelled video.")
    parser.add_argument("--media", type=Path, required=True, help="folder with vtest.avi, vtest_labels.csv, actions/")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--cache", type=Path, help="folder that keeps the person detector's boxes")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--streamed", type=Path, help="vtest's scores of stream.webcam --every 1 --ava-csv, too")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    parser.add_argument("--whole-frame", type=int, metavar="PX",
                        help="show a tube network the whole frame at this short side instead, with RoIAlign")
    args = parser.parse_args()
    model, path = resolve_action_model(args.weights)
    if args.whole_frame:
        model = replace(model, view=FrameView(args.whole_frame))
    network = load_action_model(model, path)
    if not (args.media / "vtest.avi").exists():
        raise UserError(f"media {args.media}: no vtest.avi; give the folder that holds the labelled videos")
    print(f"model: {model.name}")
    walk = walk_against_stand(network, model, args.media)
    print("vtest, true boxes:", {k: round(v, 3) for k, v in walk.items()})
    streamed = None
    if args.streamed:
        streamed = walk_against_stand_streamed(args.media / "vtest_labels.csv", args.streamed)
        print("vtest, streamed:", {k: round(v, 3) for k, v in streamed.items()})
    results = labelled_clips(network, model, args.media, DetectedPeople(args.cache, args.detector))
    print_table(results)
    if args.json:
        figures = {"model": model.name, "vtest": walk, "vtest_streamed": streamed,
                   "segments": [vars(r) for r in results]}
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
