"""Every network in the paper's tables: its cost beside the paper's, and that it builds, runs and learns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from detector.errors import UserError
from detector.slowfast import SlowFastConfig, create_network
from detector.slowfast.__main__ import main, table_lines
from detector.slowfast.cost import count_cost
from detector.slowfast.family import find_paper_network, paper_networks

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = {row.name: row for row in paper_networks()}
TWO_PERCENT = 0.02
# Rows whose cost is not the paper's, with what it is instead and the paper's own arithmetic against it.
MISSES = {"fast_4x16_r50", "input_half"}


def gflops(name):
    return count_cost(ROWS[name].config).gflops


def test_the_tables_have_all_their_rows():
    counts = {}
    for row in paper_networks():
        counts[row.table] = counts.get(row.table, 0) + 1
    assert counts == {"Kinetics-400": 5, "Kinetics-600": 5, "Charades": 4, "ablation: fusion": 7, "ablation: beta": 6,
                      "ablation: fast input": 5, "AVA v2.1": 4, "AVA v2.2": 4}
    assert len(ROWS) == len(paper_networks()), "names are unique"


@pytest.mark.slow  # forty networks
@pytest.mark.ci
def test_costs_are_within_two_percent_of_the_papers_or_stand_as_misses():
    print()
    print("\n".join(table_lines(list(paper_networks()))))
    far = {
        row.name for row in paper_networks()
        if row.gflops is not None and abs(gflops(row.name) / row.gflops - 1) > TWO_PERCENT
    }
    assert far == MISSES
    assert {row.name for row in paper_networks() if row.note} == MISSES


def test_the_papers_own_rows_say_that_a_fast_pathway_costs_six_point_nine():
    paper = {name: ROWS[name].gflops for name in ("lateral_none", "slow_4x16_r50", "fast_4x16_r50")}
    assert paper["lateral_none"] - paper["slow_4x16_r50"] == pytest.approx(gflops("fast_4x16_r50"), rel=TWO_PERCENT)
    assert gflops("lateral_none") == pytest.approx(gflops("slow_4x16_r50") + gflops("fast_4x16_r50"), rel=1e-3)


def test_half_resolution_leaves_too_little_for_the_papers_lateral_width():
    """Channels that laterals add cost the slow pathway 2.85 in its next stage's first block, by hand."""
    joined, cells = (32, 128, 256, 512), (64 * 64, 64 * 64, 32 * 32, 16 * 16)  # after pool1, res2, res3, res4
    inner, out, kernel, stride = (64, 128, 256, 512), (256, 512, 1024, 2048), (1, 1, 3, 3), (1, 2, 2, 2)
    slow_frames = 4
    extra = sum(
        slow_frames * j * (i * k * c + o * c // s**2)
        for j, c, i, o, k, s in zip(joined, cells, inner, out, kernel, stride)
    ) / 1e9
    assert extra == pytest.approx(2.85, abs=0.01)
    quarter_fast = count_cost(replace(ROWS["fast_4x16_r50"].config, beta_inv=4, fast_half_resolution=True)).gflops
    left = ROWS["input_half"].gflops - gflops("slow_4x16_r50") - quarter_fast
    assert left < extra
    assert gflops("input_half") > gflops("slow_4x16_r50") + quarter_fast + extra  # and the lateral convolutions


def test_counting_knows_a_convolution_by_hand():
    """The stem of a Fast-only network, from two clip sizes: everything scales with the picture but the last layer."""
    config = SlowFastConfig(pathways="fast", head="classification", num_classes=10, num_frames=8, blocks=(1, 1, 1, 1))
    small, large = count_cost(config, 64), count_cost(config, 128)
    linear = 256 * 10
    assert large.multiply_adds - linear == 4 * (small.multiply_adds - linear)
    stem = 8 * 32 * 32 * 8 * 3 * 5 * 7 * 7
    gray = count_cost(replace(config, fast_input="gray"), 64)
    assert small.multiply_adds - gray.multiply_adds == stem * 2 // 3


def thin(config):
    """The same network with few channels, classes and frames: what one step costs here is mostly overhead."""
    alpha = config.alpha if config.has_slow and config.has_fast else 1
    return replace(config, width=32 if config.beta_inv > 8 else 8, num_classes=10, num_frames=2 * alpha)


def one_step(config, size_px):
    """Two clips, one step of gradient descent; returns the network and the loss before and after."""
    torch.manual_seed(0)
    network = create_network(replace(config, dropout=0.0), seed=1, zero_init=True).train()
    frames = torch.randint(0, 256, (2, config.num_frames, size_px, size_px, 3), dtype=torch.uint8)
    rois, count = None, 2
    if config.head == "detection":
        rois, count = torch.tensor([[0, 2.0, 3, 20, 30], [1, 0, 0, 31, 25], [1, 8, 8, 30, 30]]), 3
    if config.activation == "softmax":
        loss_of, target = torch.nn.functional.cross_entropy, torch.arange(count)
    else:
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits
        target = torch.eye(count, config.num_classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    before = loss_of(network(frames, rois, activate=False), target)
    before.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    optimizer.step()
    with torch.no_grad():
        after = loss_of(network(frames, rois, activate=False), target)
    return network, before.item(), after.item()


THIN = {thin(row.config): row.name for row in reversed(paper_networks())}
FULL = {row.config: row.name for row in reversed(paper_networks())}


@pytest.mark.parametrize("name", list(THIN.values()))
def test_each_row_builds_runs_and_trains_a_step(name):
    _, before, after = one_step(thin(ROWS[name].config), 32)
    assert after < before


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FULL.values()))
def test_each_row_trains_a_step_as_published(name):
    _, before, after = one_step(ROWS[name].config, 32)
    assert after < before


def test_a_name_makes_the_network_and_a_wrong_one_is_told():
    assert find_paper_network("slowfast_8x8_r50").config.lateral_kernel == 7
    assert find_paper_network("slowfast_16x8_r101_nl").config.nonlocal_blocks == (6, 13, 20)
    with pytest.raises(UserError, match="slowfast_8x8_r101"):
        find_paper_network("8x8")
    with pytest.raises(UserError, match=r"python -m detector\.slowfast list"):
        find_paper_network("resnet")


def test_list_prints_the_asked_rows_and_a_wrong_name_is_one_line(capsys):
    assert main(["list", "slowfast_4x16_r50"]) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[0] == "slowfast_4x16_r50"
    assert line[-4:] == ["34.48", "36.1", "36.1", "-0.0%"]
    result = subprocess.run(
        [sys.executable, "-m", "detector.slowfast", "list", "nonsense"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: network 'nonsense': unknown")
    assert result.stderr.count("\n") == 1


def test_inspect_says_what_a_file_holds(tmp_path, capsys):
    from detector.slowfast import save_state

    config = SlowFastConfig(width=8, blocks=(1, 1, 1, 1), num_classes=5, lateral_kernel=7)
    save_state(create_network(config, seed=0), tmp_path / "w")
    assert main(["inspect", str(tmp_path / "w")]) == 0
    out = capsys.readouterr().out
    assert "every tensor used" in out
    assert "num_classes            5" in out


def test_inspect_reads_a_model_file_of_this_program(capsys):
    from detector.weights.choose import bundled_path

    assert main(["inspect", str(bundled_path())]) == 0
    out = capsys.readouterr().out
    assert "every tensor used" in out
    assert "num_classes            14" in out
