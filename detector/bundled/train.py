"""Train the network that ships with the product, on people that the project renders itself.

    python -m detector.rendering.shards rendered --held-out --shards 0:3
    python -m detector.rendering.shards rendered --shards 0:120
    python -m detector.bundled.train rendered runs/bundled

The network is a SlowFast of `BUNDLED_CONFIG`, shown a tube round each person; its poses exclude each other, which the
loss says by a softmax over them beside the sigmoids that the product uses. An interrupted run goes on with the same
command.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.command_line import CommandLine
from detector.data.batches import ClipDataset, Item
from detector.device import choose_device
from detector.errors import UserError, run_command
from detector.labels import LabelMap, load_labels
from detector.rendering.shards import RenderedClips, Shards, load_shards, shard_path
from detector.rendering.tubes import NAMES, POSES, TubeRecipe
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.slowfast.precision import autocast, native_bf16
from detector.training.checkpoints import read_checkpoint
from detector.training.loop import train
from detector.training.precision import without_slow_bf16
from detector.training.recipe import Execution, Recipe
from detector.training.widen import deepen, widen
from detector.weights.model_file import is_action_model_file, read_action_model

BUNDLED_CONFIG = SlowFastConfig(
    num_frames=16, alpha=4, beta_inv=4, width=24, blocks=(1, 2, 3, 2), fast_input="gray", fast_half_resolution=True,
    num_classes=len(NAMES), dropout=0.2,
)
BUNDLED_RECIPE = Recipe(
    loss="bce", optimizer="adamw", rate=2e-3, schedule="cosine", warmup_steps=150, weight_decay=0.02, batch=48,
    precision="bf16", clip_norm=2.0, ema_decay=0.997, validate_every=500, best_metric="mAP",
)
STILL_POSES = ("bend/bow (at the waist)", "crouch/kneel", "lie/sleep", "sit", "stand")


def bundled_labels() -> LabelMap:
    """The classes that the bundled network knows, by AVA's ids and names."""
    return load_labels("ava").subset(NAMES, "AVA, rendered subset")


def pose_and_hands_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the poses plus binary cross-entropy over all classes; sum and count of people.

    Args:
        logits, targets: (K, 14), columns as `NAMES`; exactly one pose a person.
    """
    logits, poses = logits.float(), len(POSES)
    chosen = -(targets[:, :poses] * logits[:, :poses].log_softmax(1)).sum()
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return chosen + each, torch.tensor(float(len(targets)))


class StillsToo:
    """Rendered clips of which some of people who keep still are shown as one repeated picture.

    It gives the slow pathway something to learn alone, and says that without motion nobody walks.
    """

    def __init__(self, clips: RenderedClips, share: float, key_index: int) -> None:
        self.clips, self.share, self.key_index = clips, share, key_index
        columns = [NAMES.index(name) for name in STILL_POSES]
        targets = clips.shards.targets
        self.still: np.ndarray = np.asarray((targets[:, columns].max(1) > 0) & (targets[:, len(POSES) :].max(1) == 0))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        frames, boxes, targets = self.clips[index]
        if self.still[index] and np.random.random() < self.share:
            frames = np.repeat(frames[self.key_index][None], len(frames), 0)
        return frames, boxes, targets


def side_by_side(frames: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square clips of one person each as one clip of all of them, in rows of as many as there are rows.

    Args:
        frames: (n * n, T, S, S, 3) uint8.
        boxes: (n * n, 4) pixels of each clip.

    Returns:
        (T, n * S, n * S, 3) uint8, and the boxes in its pixels.
    """
    count, t, size = frames.shape[:3]
    n = math.isqrt(count)
    places = np.stack([np.arange(count) % n, np.arange(count) // n], 1) * size
    rows = frames.reshape(n, n, t, size, size, 3).transpose(2, 0, 3, 1, 4, 5)
    return rows.reshape(t, n * size, n * size, 3), (boxes + np.tile(places, 2)).astype(np.float32)


class SharedFrames:
    """Clips of several people in one frame, who are cut out by RoIAlign, as where a network sees whole frames.

    Trains the rival of the tubes, to choose between the two by measuring. Each clip comes with others, drawn at random.
    """

    def __init__(self, clips: ClipDataset, per_side: int) -> None:
        self.clips, self.per_side = clips, per_side

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item:
        company = np.random.randint(len(self.clips), size=self.per_side**2 - 1).tolist()
        frames, boxes, targets = zip(*(self.clips[i] for i in (index, *company)))
        joined, places = side_by_side(np.stack(frames), np.concatenate(boxes))
        return joined, places, np.concatenate(targets)


@torch.inference_mode()
def score_clips(
    network: nn.Module, shards: Shards, batch: int = 64, limit: int = 0, per_side: int = 1
) -> np.ndarray:
    """(N, A) float32 scores of rendered clips; the first `limit` of them if given.

    `per_side` of more than 1 shows so many times so many clips as one frame; those that fill no frame are left out.
    """
    together = per_side**2
    count = min(len(shards), limit or len(shards)) // together * together
    batch = max(batch // together, 1) * together
    scores = []
    for start in range(0, count, batch):
        rows = range(start, min(start + batch, count))
        parts = [
            side_by_side(np.stack([shards.frames(i) for i in group]), shards.boxes[list(group)])
            for group in (rows[i : i + together] for i in range(0, len(rows), together))
        ]
        frames = torch.from_numpy(np.stack([clip for clip, _ in parts]))
        owners = np.repeat(np.arange(len(parts)), together)
        boxes = np.concatenate([boxes for _, boxes in parts])
        rois = torch.from_numpy(np.column_stack([owners, boxes]).astype(np.float32))
        device = next(network.parameters()).device
        with autocast("bf16" if native_bf16(device) else "fp32", device):
            scores.append(network(frames.to(device), rois.to(device)).float().cpu().numpy())
    return np.concatenate(scores)


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the precision-recall curve of one class: mean precision at each positive, best first."""
    order = np.argsort(-scores, kind="stable")
    hits = positive[order].astype(bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean()) if hits.any() else float("nan")


def metrics_on_renders(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Pose top-1, its mean over poses, and mAP over all classes."""
    poses = len(POSES)
    truth, guess = targets[:, :poses].argmax(1), scores[:, :poses].argmax(1)
    recalls = [float((guess[truth == k] == k).mean()) for k in range(poses) if (truth == k).any()]
    aps = [average_precision(scores[:, k], targets[:, k]) for k in range(targets.shape[1])]
    return {"pose_top1": float((truth == guess).mean()), "pose_mean_recall": float(np.mean(recalls)),
            "mAP": float(np.nanmean(aps))}


def validate(network: nn.Module, shards: Shards, limit: int = 0, per_side: int = 1) -> dict[str, float]:
    """`metrics_on_renders` of the first `limit` clips (0: all)."""
    scores = score_clips(network, shards, limit=limit, per_side=per_side)
    return metrics_on_renders(scores, shards.targets[: len(scores)])


def read_weights(path: Path) -> dict[str, Tensor]:
    """The (averaged) network's tensors in a checkpoint of a run or in a model file.

    Raises:
        UserError: it is neither, or damaged.
    """
    if is_action_model_file(path):
        return read_action_model(path)[1].state_dict()
    content = read_checkpoint(path)
    return content["average"]["values"] if content.get("average") else content["network"]


def start_from(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a bundled network of this or a smaller width and depth, for the present one."""
    width = len(values["s1.pathway0_stem.conv.weight"])
    if width != BUNDLED_CONFIG.width:
        values = widen(values, replace(BUNDLED_CONFIG, width=width), BUNDLED_CONFIG, noise=0.1)
    return deepen(values, BUNDLED_CONFIG)


def find_shards(folder: Path, held_out: bool) -> list[Path]:
    """The complete shards of a folder, in order.

    Raises:
        UserError: there are none.
    """
    pattern = shard_path(folder, 0, held_out).name.replace("0000", "*")
    paths = sorted(folder.glob(pattern))
    if not paths:
        more = "--held-out --shards 0:3" if held_out else "--shards 0:120"
        raise UserError(f"{folder}: no {pattern}; run: python -m detector.rendering.shards {folder} {more}")
    return paths


def main() -> None:
    """Train from shards."""
    parser = CommandLine("python -m detector.bundled.train", description="Train the bundled model on rendered people.")
    parser.add_argument("shards", type=Path, help="folder of detector.rendering.shards")
    parser.add_argument("folder", type=Path, help="of this run: checkpoints, log, curves")
    parser.add_argument("--init", type=Path, help="start from this last.pt or model file, grown if smaller")
    parser.add_argument("--max-shards", type=int, default=0, help="use only the first so many; 0: all")
    parser.add_argument("--validation", type=int, default=768, help="held-out clips of each validation; 0: all")
    parser.add_argument("--still", type=float, default=0.1, help="share of still people shown as one picture")
    parser.add_argument("--per-side", type=int, default=1, metavar="N",
                        help="show N x N people in one frame, cut out by RoIAlign, to compare with tubes; 1: tubes")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="change the recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.per_side < 1:
        raise UserError(f"--per-side {args.per_side}: expected at least 1")
    recipe = without_slow_bf16(BUNDLED_RECIPE.with_numbers(args.set), args.set, choose_device(args.device))
    paths = find_shards(args.shards, held_out=False)
    shards = load_shards(paths[: args.max_shards or None])
    validation = load_shards(find_shards(args.shards, held_out=True))
    network = create_network(BUNDLED_CONFIG, seed=recipe.seed, zero_init=False)
    if args.init:
        network.load_state_dict(start_from(read_weights(args.init)))
    dataset: ClipDataset = StillsToo(RenderedClips(shards), args.still, TubeRecipe().sampling.key_index)
    if args.per_side > 1:
        dataset = SharedFrames(dataset, args.per_side)
    execution = Execution(device=args.device, workers=args.workers, threads=args.threads, channels_last=True,
                          progress=False, checkpoint_every=100, log_every=25)
    print(f"{len(shards)} clips of {len(paths)} shards; {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M")
    if not recipe.steps:
        recipe = replace(recipe, steps=recipe.total_steps(len(dataset)))
    train(network, dataset, recipe, args.folder, execution=execution, loss=pose_and_hands_loss,
          validate=lambda n: validate(n, validation, args.validation, args.per_side))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
