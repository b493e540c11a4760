"""One network from several runs of `detector.bundled.train`, each started from the one before: their mean.

    python -m detector.bundled.average rendered runs/first runs/second runs/third --output runs/mean

The averaged weights of the runs are averaged once more, and batch norm's statistics, which belong to none of the runs
then, are taken anew over training clips. The folder is what `detector.bundled.record` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from detector.bundled.train import BUNDLED_CONFIG, StillsToo, find_shards, read_weights
from detector.command_line import CommandLine
from detector.data.batches import ClipDataset, collate
from detector.errors import run_command
from detector.rendering.shards import RenderedClips, load_shards
from detector.rendering.tubes import TubeRecipe
from detector.slowfast.network import create_network
from detector.slowfast.precision import autocast, native_bf16
from detector.training.checkpoints import read_checkpoint, write_checkpoint

BATCH = 64
# Shards that the clips are drawn from, evenly spaced over all of them.
SHARDS = 20


def mean_of(values: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each floating-point tensor; other tensors are those of the last."""
    return {
        name: torch.stack([each[name] for each in values]).mean(0) if last.is_floating_point() else last
        for name, last in values[-1].items()
    }


class _OneArgument(nn.Module):
    """A network that takes frames and ROIs as one, as `update_bn` hands them over."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.network(*batch)


def renew_statistics(network: nn.Module, clips: ClipDataset, count: int, seed: int = 0) -> None:
    """Set batch norm's means and variances to those over so many clips, in whole batches, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(clips))[:count].tolist()

    def batches() -> Iterator[tuple[tuple[Tensor, Tensor | None]]]:
        np.random.seed(seed)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            frames, rois, _ = collate([clips[i] for i in order[start : start + BATCH]])
            yield ((frames, rois),)

    device = torch.device("cpu")
    with autocast("bf16" if native_bf16(device) else "fp32", device):
        update_bn(batches(), _OneArgument(network))


def main() -> None:
    """Average runs."""
    parser = CommandLine(
        "python -m detector.bundled.average", description="Average several runs of the bundled model into one."
    )
    parser.add_argument("shards", type=Path, help="folder of detector.rendering.shards")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of detector.bundled.train")
    parser.add_argument("--output", type=Path, required=True, help="folder for the mean's last.pt")
    parser.add_argument("--clips", type=int, default=3072, help="training clips for batch norm's statistics (3072)")
    args = parser.parse_args()
    network = create_network(BUNDLED_CONFIG, seed=0)
    network.load_state_dict(mean_of([read_weights(run / "last.pt") for run in args.runs]))
    paths = find_shards(args.shards, held_out=False)
    shards = load_shards(paths[:: max(len(paths) // SHARDS, 1)])
    renew_statistics(network, StillsToo(RenderedClips(shards), 0.1, TubeRecipe().sampling.key_index), args.clips)
    content = read_checkpoint(args.runs[-1] / "last.pt")
    args.output.mkdir(parents=True, exist_ok=True)
    content["average"] = {**(content.get("average") or {}), "values": network.state_dict()}
    write_checkpoint(args.output / "last.pt", content)
    print(f"{args.output / 'last.pt'}: the mean of {len(args.runs)} runs")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
