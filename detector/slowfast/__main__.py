"""`python -m detector.slowfast`: the paper's networks with their cost, and what a weights file holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.slowfast.family import PaperNetwork, find_paper_network, paper_networks

HEADER = ("name", "table", "T x tau", "alpha", "beta", "depth", "params M", "GFLOPs", "paper", "diff")


def main(argv: list[str] | None = None, prog: str = "python -m detector.slowfast") -> int:
    """Run a subcommand; returns the exit code."""
    parser = CommandLine(prog, description="The paper's networks with their cost, and what a weights file holds.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|inspect")
    listing = commands.add_parser("list", help="the paper's networks: numbers, parameters, GFLOPs here and there")
    listing.add_argument("names", nargs="*", help="only these (all of them without)")
    reading = commands.add_parser("inspect", help="what network a weights file holds")
    reading.add_argument("path", help="a weights file: Caffe2, PyTorch, PyTorchVideo or one's own model.pt")
    options = parser.parse_args(argv)
    if options.command == "list":
        rows = [find_paper_network(name) for name in options.names] or list(paper_networks())
        for line in table_lines(rows):
            print(line, flush=True)
    else:
        _inspect(options.path)
    return 0


def table_lines(rows: list[PaperNetwork]) -> Iterator[str]:
    """The table, line by line; counting a row takes up to a second, so lines come as they are ready."""
    from detector.slowfast.cost import count_cost

    widths = (max(len(HEADER[0]), *(len(row.name) for row in rows)), 20, 8, 5, 5, 5, 8, 7, 6, 6)
    yield _line(HEADER, widths)
    notes: list[str] = []
    for row in rows:
        config = row.config
        cost = count_cost(config)
        diff = "" if row.gflops is None else f"{100 * (cost.gflops / row.gflops - 1):+.1f}%"
        if row.note:
            notes.append(f"* {row.name}: {row.note}.")
            diff += "*"
        alone = config.pathways != "slowfast"
        yield _line((
            row.name, row.table, f"{_slow_frames(row)}x{row.tau}", "-" if alone else str(config.alpha),
            "-" if config.pathways == "slow" else f"1/{config.beta_inv}", f"R{config.depth}",
            f"{cost.parameters / 1e6:.2f}", f"{cost.gflops:.1f}", "-" if row.gflops is None else f"{row.gflops:g}",
            diff,
        ), widths)
    yield ""
    yield "GFLOPs: 10^9 multiply-adds of one 256x256 clip, counted by torch.utils.flop_counter; diff: to the paper."
    yield from notes


def _slow_frames(row: PaperNetwork) -> int:
    # A Fast-only network has no slow frames; the paper names it by the ones it would have.
    return row.config.num_frames // row.config.alpha if row.config.pathways == "fast" else row.slow_frames


def _line(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2])]
    return "  ".join(left + [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:])]).rstrip()


def _inspect(path: str) -> None:
    if not Path(path).is_file():
        raise UserError(f"weights {path}: no such file")
    from detector.slowfast.checkpoints import load_network

    network = load_network(path)
    count = sum(p.numel() for p in network.parameters())
    print(f"{path}: {count / 1e6:.2f} M parameters, every tensor used")
    for name, value in vars(network.config).items():
        print(f"  {name:22} {value}")


if __name__ == "__main__":
    sys.exit(run_command(main))
