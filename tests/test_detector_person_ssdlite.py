"""The bundled detector: the logic with a network that sees coloured rectangles, and the graph itself on video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.evaluation.people import evaluate, read_labels, total
from detector.person import ssdlite, ssdlite_graph
from detector.person.ssdlite import SsdliteDetector
from detector.types import Boxes

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"


class RectangleNetwork:
    """Sees pure red rectangles of at least 24 rows of its 300x300 pixels, as the graph gives people."""

    def __init__(self) -> None:
        self.smallest_px = 24

    def __call__(self, pictures: list[np.ndarray], least_score: float) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self._see(picture, least_score) for picture in pictures]

    def _see(self, picture: np.ndarray, least_score: float) -> tuple[np.ndarray, np.ndarray]:
        red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
        # Smaller ones leave no trace; small ones a faint one.
        people = [(x, y, x + w, y + h, 0.9 if h >= self.smallest_px else 0.15) for x, y, w, h, _ in stats[1:] if h >= 6]
        rows = np.array([p for p in people if p[4] >= least_score], np.float32).reshape(-1, 5)
        return rows[:, :4] / 300, rows[:, 4]


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(ssdlite, "_compile", lambda num_threads: RectangleNetwork())
    return SsdliteDetector()


def scene(*people: tuple[int, int, int, int], size_hw: tuple[int, int] = (600, 800)) -> np.ndarray:
    image = np.full((*size_hw, 3), 90, np.uint8)
    for x1, y1, x2, y2 in people:
        image[y1:y2, x1:x2] = (0, 0, 255)
    return image


def near(boxes, *people) -> bool:
    if len(boxes) != len(people):
        return False
    return all(np.abs(boxes.xyxy - np.array(p)).max(1).min() <= 5 for p in people)


def test_a_fork_looks_everywhere_first_and_shares_no_memory(detector):
    small = (700, 500, 712, 530)
    picture = scene(small)
    assert near(detector.detect(picture), small)
    detector.detect(picture)
    passes = detector.passes
    fork = detector.fork()
    assert near(fork.detect(picture), small)
    assert fork.passes > 10
    assert detector.passes == passes


def test_nobody(detector):
    for _ in range(3):
        assert len(detector.detect(scene())) == 0


def test_small_people_are_found_in_the_first_picture_and_followed(detector):
    for step in range(6):
        small, large = (100 + 20 * step, 100, 112 + 20 * step, 132), (500, 150, 620, 560)
        boxes = detector.detect(scene(small, large))
        assert near(boxes, small, large), (step, boxes.xyxy)


def test_someone_new_and_small_is_found_by_a_faint_hint(detector):
    detector.detect(scene())
    assert near(detector.detect(scene((300, 300, 314, 336))), (300, 300, 314, 336))


def test_someone_too_small_for_a_hint_is_found_when_the_turn_comes(detector, monkeypatch):
    monkeypatch.setattr(ssdlite, "HINT_SCORE", 2.0)  # no hints at all
    detector.detect(scene())
    person = (300, 300, 314, 336)
    assert any(near(detector.detect(scene(person)), person) for _ in range(20))


def test_following_costs_few_passes(detector):
    people = [(100 + 40 * i, 200, 112 + 40 * i, 232) for i in range(5)]
    detector.detect(scene(*people))
    before = detector.passes
    for _ in range(10):
        assert len(detector.detect(scene(*people))) == 5
    assert (detector.passes - before) / 10 <= 4


def test_looking_again_follows_small_and_large_people_in_few_passes(detector):
    def people(step: int) -> list[tuple[int, int, int, int]]:
        return [(100 + 9 * step, 100, 112 + 9 * step, 132), (500 - 9 * step, 150, 600 - 9 * step, 450)]

    seen = detector.detect(scene(*people(0)))
    before = detector.passes
    for step in range(1, 11):
        seen = detector.look_again(scene(*people(step)), seen.xyxy)
        assert near(seen, *people(step)), (step, seen.xyxy)
    assert (detector.passes - before) / 10 <= 3


@pytest.mark.parametrize("newcomer", [(300, 300, 314, 336), (500, 150, 600, 450)], ids=["small", "large"])
def test_looking_again_finds_somebody_new_within_a_round(detector, newcomer):
    known = (100, 100, 112, 132)
    seen = detector.detect(scene(known))
    for _ in range(4):
        seen = detector.look_again(scene(known, newcomer), seen.xyxy)
        if len(seen) == 2:
            break
    assert near(seen, known, newcomer)


def test_looking_again_in_a_picture_of_another_size_is_a_search(detector):
    detector.detect(scene((100, 100, 112, 132)))
    person = (40, 40, 52, 72)
    boxes = detector.look_again(scene(person, size_hw=(480, 640)), np.array([[100, 100, 112, 132]], np.float32))
    assert near(boxes, person)


def test_people_said_to_be_outside_the_picture_are_nobody(detector):
    detector.detect(scene())
    nowhere = np.array([[-500, -500, -400, -400], [900, 0, 950, 80]], np.float32)
    for _ in range(3):
        assert len(detector.look_again(scene(), nowhere)) == 0


def test_a_person_on_the_edge_of_two_crops_is_one_person(detector):
    detector.everywhere = True
    for x in range(0, 760, 37):
        person = (x, 250, x + 20, 310)
        assert near(detector.detect(scene(person)), person), x


def test_another_size_begins_anew(detector):
    detector.detect(scene((100, 100, 112, 132)))
    person = (40, 40, 52, 72)
    assert near(detector.detect(scene(person, size_hw=(480, 640))), person)


@pytest.mark.parametrize("size_hw", [(576, 768), (720, 1280), (1280, 720), (37, 501), (3, 3), (1, 1)])
def test_boxes_lie_inside_pictures_of_any_size(detector, size_hw):
    h, w = size_hw
    boxes = detector.detect(scene((0, 0, w, h), size_hw=size_hw))
    assert len(boxes) >= 1
    assert (boxes.xyxy >= 0).all()
    assert (boxes.xyxy <= [w, h, w, h]).all()
    assert (np.diff(boxes.score) <= 0).all()


@pytest.mark.parametrize(
    ("small", "score", "kept"),
    [((150, 150, 180, 220), 0.5, 1), ((150, 150, 180, 220), 0.9, 2), ((280, 150, 330, 220), 0.5, 2),
     ((100, 100, 250, 400), 0.5, 2)],
    ids=["a limb", "surely someone", "half outside", "not small"],
)
def test_a_limb_of_someone_large_is_nobody(small, score, kept):
    boxes = ssdlite._without_parts(Boxes(np.array([(100, 100, 300, 500), small], np.float32), np.array([0.95, score])))
    assert len(boxes) == kept


def test_the_threshold_may_change_while_running(detector):
    picture = scene((500, 150, 620, 560))
    assert len(detector.detect(picture)) == 1
    detector.threshold = 0.95
    assert len(detector.detect(picture)) == 0


def test_closing_twice_is_fine(detector):
    detector.close()
    detector.close()


@pytest.mark.slow
@pytest.mark.ci
def test_small_people_of_a_real_video_are_found():
    pytest.importorskip("openvino")
    video = MEDIA / "vtest.avi"
    assert ssdlite_graph.graph_path() is not None, "the graph is part of every installation"
    if not video.is_file():
        pytest.skip("needs vtest.avi with its labels")
    score = total(evaluate(SsdliteDetector(), video, read_labels(MEDIA / "vtest_labels.csv"), step=5))
    assert score.recall >= 0.75
    assert score.precision >= 0.8


def test_the_graph_sees_a_large_person_of_a_real_video():
    pytest.importorskip("openvino")
    video = MEDIA / "juggle.mp4"
    assert ssdlite_graph.graph_path() is not None, "the graph is part of every installation"
    if not video.is_file():
        pytest.skip("needs juggle.mp4")
    capture = cv2.VideoCapture(str(video))
    image = capture.read()[1]
    capture.release()
    boxes = SsdliteDetector().detect(image)
    assert len(boxes) == 1
    assert boxes.xyxy[0, 3] - boxes.xyxy[0, 1] > 400
