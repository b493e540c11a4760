"""AVA's frame mAP against numbers worked by hand and against a slow evaluator written straight from the rules."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from detector.data.ava import read_excluded
from detector.data.problems import Problems
from detector.errors import UserError
from detector.evaluation.ava import evaluate_entries, read_entries
from detector.labels import Action, LabelMap
from detector.types import iou

LABELS = LabelMap("three", (Action(1, "bend"), Action(4, "dance"), Action(12, "walk")))


def evaluate(tmp_path, truth: str, predictions: str, excluded: str = "", max_per_frame: int = 0, **more):
    for name, text in (("gt.csv", truth), ("pred.csv", predictions), ("excluded.csv", excluded)):
        (tmp_path / name).write_text("".join(line.strip() + "\n" for line in text.strip().splitlines()))
    problems = Problems()
    return evaluate_entries(
        read_entries(tmp_path / "gt.csv", LABELS, problems, scored=False),
        read_entries(tmp_path / "pred.csv", LABELS, problems, scored=True, max_per_frame=max_per_frame),
        LABELS, excluded=read_excluded(tmp_path / "excluded.csv", problems), **more,
    )


def ap_of(result, action: int) -> float:
    return next(c.average_precision for c in result.classes if c.id == action)


# Two people, left (0-0.4) and right (0.5-0.9), in frame 902; one in frame 903.
LEFT, RIGHT = "0,0,0.4,0.8", "0.5,0,0.9,0.8"
TRUTH = f"v,0902,{LEFT},12,0\nv,0902,{RIGHT},12,1\nv,0903,{LEFT},12,0"

CASES = {
    "all found": (TRUTH, f"v,902,{LEFT},12,0.9\nv,902,{RIGHT},12,0.8\nv,903,{LEFT},12,0.7", 1.0),
    # Hits at ranks 1 and 3 of 3 for 3 positives: 1/3 * 1 + 1/3 * 2/3.
    "a false alarm between two hits": (
        TRUTH, f"v,902,{LEFT},12,0.9\nv,902,0,0.9,1,1,12,0.8\nv,903,{LEFT},12,0.7", 1 / 3 + 2 / 9,
    ),
    # A second box on the same person is a false alarm, at rank 2: 1/3 + 1/3 * 2/3 + 1/3 * 3/4; the precision of
    # rank 3 is raised to that of rank 4, since 3/4 > 2/3.
    "a duplicate": (
        TRUTH,
        f"v,902,{LEFT},12,0.9\nv,902,0,0,0.41,0.8,12,0.85\nv,902,{RIGHT},12,0.8\nv,903,{LEFT},12,0.7",
        1 / 3 + 2 / 3 * 3 / 4,
    ),
    # The weaker box fits better but comes second: it is the duplicate.
    "the higher score is tried first": (
        f"v,902,{LEFT},12,0", f"v,902,{LEFT},12,0.3\nv,902,0,0,0.35,0.8,12,0.6", 1.0,
    ),
    # IoU exactly 0.5 counts: half the box.
    "overlap of exactly one half": ("v,902,0,0,0.5,1,12,0", "v,902,0,0,0.25,1,12,0.9", 1.0),
    "overlap below one half": ("v,902,0,0,0.5,1,12,0", "v,902,0,0,0.249,1,12,0.9", 0.0),
    # Both detections overlap the wide box most; the second does not fall back to the free narrow one.
    "no second choice": (
        "v,902,0,0,0.8,1,12,0\nv,902,0,0,0.56,1,12,1", "v,902,0,0,0.8,1,12,0.9\nv,902,0,0,0.7,1,12,0.8", 0.5,
    ),
    "a frame without predictions": (TRUTH, f"v,902,{LEFT},12,0.9\nv,902,{RIGHT},12,0.8", 2 / 3),
    # 1/2 at rank 2 for one positive.
    "a frame that the ground truth lacks": (f"v,902,{LEFT},12,0", f"v,904,{LEFT},12,0.9\nv,902,{LEFT},12,0.8", 0.5),
    "another video of the same time": (f"v,902,{LEFT},12,0", f"w,902,{LEFT},12,0.9\nv,902,{LEFT},12,0.8", 0.5),
    "the right place, the wrong action": (f"v,902,{LEFT},12,0", f"v,902,{LEFT},4,0.9", 0.0),
    "no prediction at all": (TRUTH, "", 0.0),
    "a frame named without boxes": (f"v,902,{LEFT},12,0", f"v,902\nv,902,{LEFT},12,0.9", 1.0),
    # Of equal scores the later frame's comes first: false alarm at rank 1, hit at rank 2.
    "a tie with the false alarm later": (f"v,902,{LEFT},12,0", f"v,902,{LEFT},12,0.9\nv,905,{LEFT},12,0.9", 0.5),
    "a tie with the false alarm earlier": (f"v,902,{LEFT},12,0", f"v,901,{LEFT},12,0.9\nv,902,{LEFT},12,0.9", 1.0),
    "several labels of one person": (f"v,902,{LEFT},12,0\nv,902,{LEFT},99,0", f"v,902,{LEFT},12,0.9", 1.0),
}


@pytest.mark.parametrize(("truth", "predictions", "expected"), CASES.values(), ids=CASES.keys())
def test_average_precision_worked_by_hand(tmp_path, truth, predictions, expected):
    assert ap_of(evaluate(tmp_path, truth, predictions), 12) == pytest.approx(expected, abs=1e-12)


def test_the_mean_is_over_classes_with_ground_truth(tmp_path):
    """walk is found, bend is missed (0), dance occurs in predictions only and does not count: (1 + 0) / 2."""
    result = evaluate(
        tmp_path, f"v,902,{LEFT},12,0\nv,902,{LEFT},1,0", f"v,902,{LEFT},12,0.9\nv,902,{LEFT},4,0.9"
    )
    assert result.mean_ap == pytest.approx(0.5)
    assert np.isnan(ap_of(result, 4))
    assert result.to_dict()["classes"][1]["average_precision"] is None
    assert (result.frames, result.frames_predicted) == (1, 1)


def test_excluded_frames_count_on_neither_side(tmp_path):
    truth = f"v,902,{LEFT},12,0\nv,0903,{RIGHT},12,0"
    predictions = f"v,0903,{LEFT},12,0.9\nv,0902,{LEFT},12,0.8"
    assert evaluate(tmp_path, truth, predictions).mean_ap == pytest.approx(0.25)
    assert evaluate(tmp_path, truth, predictions, "v,0903").mean_ap == 1.0
    assert evaluate(tmp_path, truth, predictions, "v,903.0\nw,902").mean_ap == 1.0


def test_the_present_official_options(tmp_path):
    truth = f"v,902,{LEFT},12,0"
    stray = f"v,904,{LEFT},12,0.9\nv,902,{LEFT},12,0.8"
    assert evaluate(tmp_path, truth, stray, labelled_frames_only=True).mean_ap == 1.0
    crowd = "\n".join(f"v,902,0,0.9,0.1,1,4,0.{90 - i}" for i in range(3)) + f"\nv,902,{LEFT},12,0.1"
    assert evaluate(tmp_path, truth, crowd, max_per_frame=4).mean_ap == 1.0
    assert evaluate(tmp_path, truth, crowd, max_per_frame=3).mean_ap == 0.0


def test_nothing_to_measure_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no box of the classes that count"):
        evaluate(tmp_path, f"v,902,{LEFT},7,0", "")


def naive_iou(a, b) -> float:
    """Overlap of (x1, y1, x2, y2) boxes, from areas of plain rectangles."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = w * h if w > 0 and h > 0 else 0.0
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def naive_ap(truth, predictions, action) -> float:
    """From the rules, one threshold at a time: at each score, how many hits and how many answers so far.

    Scores are distinct here. Precision at a recall is the best precision at that or any higher recall.
    """
    wanted = [(frame, box) for frame, box, a in truth if a == action]
    answers = sorted((p for p in predictions if p[2] == action), key=lambda p: -p[3])
    taken, points, hits = set(), [], 0
    for count, (frame, box, _, _) in enumerate(answers, start=1):
        rivals = [(naive_iou(box, other), i) for i, (f, other) in enumerate(wanted) if f == frame]
        if rivals:
            best, i = max(rivals, key=lambda rival: (rival[0], -rival[1]))
            if best >= 0.5 and i not in taken:
                taken.add(i)
                hits += 1
        points.append((hits / len(wanted), hits / count))
    total = 0.0
    for i in range(1, len(wanted) + 1):
        reached = [p for r, p in points if r >= i / len(wanted) - 1e-12]
        total += max(reached, default=0.0) / len(wanted)
    return total


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_a_slow_evaluator_on_random_crowds(tmp_path, seed):
    rng = np.random.default_rng(seed)
    frames = [("v", 902 + i) for i in range(6)] + [("w", 902)]

    def box():
        x, y = rng.uniform(0, 0.5, 2)
        return [round(float(v), 3) for v in (x, y, x + rng.uniform(0.1, 0.5), y + rng.uniform(0.1, 0.5))]

    truth = [(frames[rng.integers(6)], box(), int(rng.choice([1, 4, 12]))) for _ in range(25)]
    predictions = []
    for score in rng.permutation(120):
        if rng.random() < 0.6:
            frame, near, action = truth[rng.integers(len(truth))]
            shaken = np.array(near) + rng.normal(0, 0.03, 4)
            near = [round(float(v), 3) for v in shaken.clip(0, 1)]
            if near[0] >= near[2] or near[1] >= near[3]:
                continue
        else:
            frame, near, action = frames[rng.integers(7)], box(), int(rng.choice([1, 4, 12]))
        predictions.append((frame, near, action, 0.001 * (score + 1)))

    def text(rows, scored):
        return "\n".join(
            f"{f[0]},{f[1]},{','.join(map(str, b))},{a},{rest[0] if scored else 0}" for f, b, a, *rest in rows
        )

    result = evaluate(tmp_path, text(truth, False), text(predictions, True))
    expected = {a: naive_ap(truth, predictions, a) for a in (1, 4, 12)}
    assert any(0.05 < value < 0.95 for value in expected.values())
    for action, value in expected.items():
        assert ap_of(result, action) == pytest.approx(value, abs=1e-9)
    assert result.mean_ap == pytest.approx(np.mean(list(expected.values())))


def test_overlap_of_boxes_is_that_of_rectangles():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 1, (12, 4))
    boxes[:, 2:] += boxes[:, :2]
    found = iou(boxes, boxes[:5])
    for i, j in itertools.product(range(12), range(5)):
        assert found[i, j] == pytest.approx(naive_iou(boxes[i], boxes[j]))
    assert iou(boxes, boxes[:0]).shape == (12, 0)


@pytest.mark.parametrize(("line", "said"), [
    ("v,902,0,0,0.4", "got 5 columns, expected 2, 6, 7 or 8"),
    ("v,abc,0,0,0.4,0.8,12,0.5", "expected a video id and seconds"),
    ("v,902,0,0,40,80,12,0.5", "expected shares of width and height from 0 to 1, not pixels"),
    ("v,902,0.4,0,0.4,0.8,12,0.5", "expected x1 < x2"),
    ("v,902,0,0,x,0.8,12,0.5", "expected four numbers"),
    ("v,902,0,0,0.4,0.8,walk,0.5", "got action 'walk', expected a whole-number id"),
    ("v,902,0,0,0.4,0.8,12,", "got score '', expected a number"),
    ("v,902,0,0,0.4,0.8,12,nan", "got score 'nan', expected a number"),
])
def test_a_broken_row_is_named_or_left_out_and_counted(tmp_path, line, said):
    path = tmp_path / "pred.csv"
    path.write_text(f"v,902,{LEFT},12,0.9\n\n{line}\nv,903,{LEFT},12,0.8\n")
    with pytest.raises(UserError, match=r"pred\.csv, line 3: ") as error:
        read_entries(path, LABELS, Problems(), scored=True)
    assert said in str(error.value)
    problems = Problems(skip=True)
    entries = read_entries(path, LABELS, problems, scored=True)
    assert sum(len(e) for e in entries.entries.values()) == 2
    assert problems.counts == {"bad row": 1}
    assert "line 3" in problems.summary()


def test_the_command_prints_a_table_and_writes_json_and_plots(tmp_path):
    (tmp_path / "gt.csv").write_text(f"v,902,{LEFT},12,0\nv,902,{RIGHT},80,1\nv,903,{LEFT},12,0\n")
    (tmp_path / "pred.csv").write_text(f"v,902,{LEFT},12,0.9\nv,904,{LEFT},12,0.8\n")
    (tmp_path / "excluded.csv").write_text("v,904\n")
    command = [sys.executable, "-m", "detector.evaluation", "ava", "--groundtruth", "gt.csv", "--predictions",
               "pred.csv", "--exclusions", "excluded.csv", "--json", "out.json", "--plots", "plots"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["mAP"] == pytest.approx((0.5 + 0) / 2)
    assert len(figures["classes"]) == 60
    assert "mAP 25.00" in done.stdout
    assert (tmp_path / "plots/precision_recall.png").stat().st_size > 5000
    done = subprocess.run([*command[:7], "nowhere.csv"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --predictions nowhere.csv: no such file")
    assert len(done.stderr.splitlines()) == 1
