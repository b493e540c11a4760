"""The motion gate on a real street: nobody is lost by it; on a still scene it saves most searches."""

import csv
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.types import iou
from stream.service.motion import MotionGate
from stream.service.pace import Pace, Rhythm
from stream.sources import VideoFile

MEDIA = Path(__file__).parents[2] / "shared" / "media"
RHYTHM = {"answer_s": 0.5, "search_s": 0.5, "still_s": 2.0, "empty_s": 4.0}


def watch(frames, gated, detect):
    """Search as a camera with that gate would; the frames that were searched, and who was found."""
    gate, pace = MotionGate(), Pace(Rhythm(**RHYTHM, gated=gated), 0.0)
    searched = {}
    for frame in frames:
        if gate.moved(frame.image, frame.time_s):
            pace.moved(frame.time_s)
        if pace.search_due_s(frame.time_s) <= frame.time_s:
            found = detect(frame)
            searched[frame.index] = found
            pace.searched(frame.time_s, len(found))
        yield frame, found, searched


def recall(gated):
    """Share of the labelled people of vtest.avi that tracks cover (IoU 0.3), and searches."""
    from detector.person.ssdlite import SsdliteDetector
    from detector.tracking import Tracker

    people = defaultdict(list)
    with (MEDIA / "vtest_labels.csv").open() as file:
        for row in csv.DictReader(file):
            if row["visible"] == "1":
                x, y, w, h = (float(row[k]) for k in ("left_px", "top_px", "width_px", "height_px"))
                people[int(row["frame"]) - 1].append(np.array([x, y, x + w, y + h]))
    detector, tracker = SsdliteDetector(), Tracker()
    hits = total = 0
    last = -1.0
    for frame, found, searched in watch(VideoFile(MEDIA / "vtest.avi"), gated, lambda f: detector.detect(f.image)):
        if frame.index in searched and frame.time_s > last:
            tracker.update(found, frame.time_s)
            last = frame.time_s
        for box in people.get(frame.index, ()):
            total += 1
            hits += bool((iou(box[None], tracker.predict(frame.time_s).xyxy) >= 0.3).any())
        if frame.index >= 390:
            break
    return hits / total, len(searched)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(not (MEDIA / "vtest.avi").exists(), reason="needs ../shared/media/vtest.avi")
def test_nobody_on_a_real_street_is_lost_by_the_gate():
    pytest.importorskip("scipy")
    open_recall, open_searches = recall(gated=False)
    gated_recall, gated_searches = recall(gated=True)
    print(f"recall {open_recall:.3f} in {open_searches} searches, gated {gated_recall:.3f} in {gated_searches}")
    assert open_recall > 0.6
    assert gated_recall >= open_recall - 0.01


@pytest.fixture(scope="module")
def still():
    """A minute of one picture of the street with the noise of a camera."""
    first = next(iter(VideoFile(MEDIA / "vtest.avi")))
    rng = np.random.default_rng(0)
    small = cv2.resize(first.image, (384, 288))

    def noisy():
        return np.clip(small + rng.normal(0, 3, small.shape), 0, 255).astype(np.uint8)

    return [type(first)(noisy(), i, i / 5, i / 5) for i in range(300)]


@pytest.mark.skipif(not (MEDIA / "vtest.avi").exists(), reason="needs ../shared/media/vtest.avi")
@pytest.mark.parametrize(("people", "most_share"), [(3, 0.35), (0, 0.3)])
def test_a_still_scene_is_searched_a_third_as_often_or_less(still, people, most_share):
    counts = {}
    for gated in (False, True):
        for _, _, searched in watch(still, gated, lambda frame: [None] * people):
            counts[gated] = len(searched)
    print(f"{people} people keep still: {counts[True]} searches a minute instead of {counts[False]}")
    if people:
        assert counts[True] <= most_share * counts[False]
    else:
        assert counts[True] <= most_share * counts[False] + 3
    assert counts[True] >= 60 / 4 - 1
