"""Train the second witness on key points: the renderer's acts and, with --mocap, recorded motions.

    python -m detector.skeletons.train OUTPUT.pt --mocap FOLDER [--samples 48000] [--epochs 12] [--seed 0]

A trial: streams do not ask it yet (see `detector/skeletons/README.md`). Whoever publishes weights that were trained on
CMU's motions acknowledges them in the words that the database asks for.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from detector.bundled.train import bundled_labels
from detector.command_line import CommandLine
from detector.errors import run_command
from detector.rendering.tubes import NAMES, POSES, TubeRecipe
from detector.skeletons.motions import Segment, load_pack
from detector.skeletons.network import SkeletonNetwork
from detector.skeletons.samples import sample

HANDS = tuple(name for name in NAMES if name not in POSES)


def make_samples(
    count: int, segments: list[Segment], seed: int, held_out: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(N, T, 17, 3) float32 inputs and (N, A) 0 or 1, every pose as often; deterministic by seed."""
    rng = np.random.default_rng([seed, held_out])
    seconds = TubeRecipe().sampling.offsets_s
    inputs, targets = [], np.zeros((count, len(NAMES)), np.float32)
    for i in range(count):
        points, names = sample(POSES[i % len(POSES)], seconds, segments, rng, held_out)
        inputs.append(points)
        for name in names:
            if name in NAMES:
                targets[i, NAMES.index(name)] = 1
    return np.stack(inputs), targets


def fit(inputs: np.ndarray, targets: np.ndarray, epochs: int, seed: int) -> SkeletonNetwork:
    """Train with Adam and a cosine; one thread is enough."""
    torch.manual_seed(seed)
    network = SkeletonNetwork(targets.shape[1])
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
    steps = epochs * (len(x) // 128)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    poses = len(POSES)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 128 * 128].reshape(-1, 128):
            logits = network.logits(x[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y[rows]) * 4
            loss = loss + torch.nn.functional.cross_entropy(logits[:, :poses], y[rows, :poses].argmax(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def recalls(network: SkeletonNetwork, inputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Share of each pose's samples in which it is on top of all poses, and their mean."""
    scores = network(torch.from_numpy(inputs)).numpy()[:, : len(POSES)]
    truth, guess = targets[:, : len(POSES)].argmax(1), scores.argmax(1)
    each = {name: float((guess[truth == k] == k).mean()) for k, name in enumerate(POSES) if (truth == k).any()}
    return {"mean": float(np.mean(list(each.values()))), **each}


def main() -> None:
    """Make samples, train, print the held-out figures, write the weights."""
    parser = CommandLine("python -m detector.skeletons.train", description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--mocap", type=Path, help="folder of motion-capture packs (index.csv and .npz)")
    parser.add_argument("--samples", type=int, default=48000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    segments = load_pack(args.mocap, POSES) if args.mocap else []
    begun = time.monotonic()
    train, check = (make_samples(n, segments, args.seed, held) for n, held in ((args.samples, False), (2400, True)))
    print(f"{len(train[0])} samples in {time.monotonic() - begun:.0f} s")
    network = fit(*train, args.epochs, args.seed)
    print({name: round(value, 2) for name, value in recalls(network, *check).items()},
          f"{time.monotonic() - begun:.0f} s")
    labels = [action.name for action in bundled_labels()]
    torch.save({"labels": labels, "tensors": network.half().state_dict()}, args.output)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
