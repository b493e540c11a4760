"""Readers of AVA-format files and the clips they give; videos are rendered, boxes follow a moving square."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest

from detector.data.ava import read_label_file
from detector.data.box_clips import BoxClips
from detector.data.problems import Problems
from detector.data.samples import (
    add_proposals,
    check_sources,
    labels_of_file,
    read_samples,
    sources_beside,
    sources_in,
)
from detector.data.transforms import Augmentation, crop_and_flip, crop_clip, flip_clip, jitter_boxes
from detector.errors import UserError, run_command
from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.training.fill_boxes import fill_boxes
from detector.training.fill_boxes import main as fill_main
from detector.types import Boxes
from detector.views import FrameView, TubeView

LABELS = LabelMap("two", (Action(3, "hop"), Action(7, "wave")))
SIZE_HW = (90, 160)


def square_at(time_s: float) -> tuple[float, float, float, float]:
    """Where the white square is, shares of the picture: it moves right by a tenth of the width a second."""
    left = 0.1 + 0.1 * time_s
    return left, 0.2, left + 0.2, 0.6


def write_square(path, seconds: float = 4.0, fps: int = 30):
    h, w = SIZE_HW
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        for i in range(round(seconds * fps)):
            image = np.full((h, w, 3), 20, np.uint8)
            x1, y1, x2, y2 = np.round(np.array(square_at(i / fps)) * [w, h, w, h]).astype(int)
            image[y1:y2, x1:x2] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_square(folder / name)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


def row(video: str, time_s: float, action: str) -> str:
    return f"{video},{time_s},{','.join(f'{v:.4f}' for v in square_at(time_s))},{action}"


def write(folder, *lines: str, name: str = "my.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def read(path, problems=None, labels=LABELS):
    return read_samples(path, labels, sources_beside(path), problems or Problems())


def test_rows_of_one_person_are_one_target(folder):
    path = write(
        folder, "video,time,x1,y1,x2,y2,action", row("a.mp4", 1.0, "hop"), row("a.mp4", 1.0, "wave"),
        "a.mp4,1.0,0.7,0.1,0.9,0.9,7", "a.mp4,1.0,0,0,0.1,0.5,", row("b.mp4", 2.0, "3"),
    )
    first, second = read(path)
    assert (first.key, first.time_s, len(first.boxes)) == (("a.mp4", 1_000_000), 1.0, 3)
    np.testing.assert_array_equal(first.targets, [[1, 1], [0, 1], [0, 0]])
    np.testing.assert_array_equal(second.targets, [[1, 0]])
    assert first.place == (str(path), 2)


def test_avas_rows_are_found_by_movie_id_and_start(tmp_path, folder):
    path = write(tmp_path, "a,0902,0.1,0.1,0.3,0.3,3,5", "a,0902,0.1,0.1,0.3,0.3,7,5", "b,0903,0.1,0.1,0.3,0.3,7,6")
    samples = read_samples(path, LABELS, sources_in(folder), Problems(), start_s=900.0, excluded={("b", 903_000_000)})
    assert [(s.source.name, s.time_s) for s in samples] == [("a.mp4", 2.0)]


@pytest.mark.parametrize(("line", "kind", "said"), [
    (row("nowhere.mp4", 1.0, "hop"), "missing video", "no video 'nowhere.mp4'"),
    (row("a.mp4", 1.0, "swim"), "unknown action", "got action 'swim', not in two"),
    (row("a.mp4", 1.0, '"hop'), "stray quote", "got a stray quote in 'a.mp4,1.0,"),
    (row("a.mp4", 1.0, 'ho"p'), "stray quote", "got a stray quote"),
    (row("a.mp4", 1.0, '"hop"s'), "stray quote", "got a stray quote"),
    (row("a.mp4", 1.0, "hop, high"), "bad row", 'in quotes: "hop, high"'),
    (row("a.mp4", 1.0, "hop, high, far"), "bad row", 'in quotes: "hop, high, far"'),
    (row("a.mp4", 1.0, "hop,anna"), "bad row", "got score 'anna', expected a number in the eighth column"),
    (row("a.mp4", 1.0, "hop,nan"), "bad row", "got score 'nan'"),
    (row("a.mp4", 1.0, "Hop"), "unknown action", "got action 'Hop', not in two; perhaps 'hop'?"),
    (row("a.mp4", 1.0, "²"), "unknown action", "got action '²', not in two"),
    (row("a.mp4", 1.0, "4"), "unknown action", "got action '4', not in two"),
    ("a.mp4,1.0,16,18,40,54,hop", "bad row", "not pixels"),
    (row("broken.mp4", 1.0, "hop"), "broken video", "broken.mp4: not a readable video"),
    (row("a.mp4", 7.0, "hop"), "key frame outside its video", "4.00 s long, the key frame is at 7.00 s"),
])
def test_what_is_wrong_is_named_or_left_out_and_counted(folder, line, kind, said):
    path = write(folder, row("a.mp4", 1.0, "hop"), line, row("b.mp4", 2.0, "wave"))
    with pytest.raises(UserError, match=r"my\.csv, line 2: ") as error:
        check_sources(read(path), Problems())
    assert said in str(error.value)
    problems = Problems(skip=True)
    samples = check_sources(read(path, problems), problems)
    assert [s.key[0] for s in samples] == ["a.mp4", "b.mp4"]
    assert problems.counts == {kind: 1}
    assert "line 2" in problems.summary()


@pytest.mark.parametrize("other", ["Walk", "WALK", "wa lk", "wa-lk", "wa_lk"])
def test_two_spellings_of_one_action_are_no_two_classes(folder, other):
    first = "walk" if other.lower() == "walk" else "wa  lk"
    path = write(folder, row("a.mp4", 1.0, first), row("b.mp4", 1.0, "sit"), row("b.mp4", 2.0, other))
    with pytest.raises(UserError, match=rf"line 3: got action '{other}', but '{first}' in line 1; expected one"):
        labels_of_file(path, Problems())
    problems = Problems(skip=True)
    labels = labels_of_file(path, problems)
    assert [a.name for a in labels] == sorted([first, "sit"])
    assert problems.counts == {"two spellings": 1}
    assert len(read(path, problems, labels)) == 2


def test_a_quote_swallows_no_rows(folder):
    lines = [row("a.mp4", 0.5 * i, '"hop' if i % 2 else "wave") for i in range(6)]
    with pytest.raises(UserError, match="line 2: got a stray quote"):
        read(write(folder, *lines))
    problems = Problems(skip=True)
    assert len(read(write(folder, *lines), problems)) == 3
    assert problems.counts == {"stray quote": 3}


def test_quoted_labels_with_commas_and_quotes_are_one_field(folder):
    path = write(folder, row("a.mp4", 1.0, '"talk, loudly"'), row("b.mp4", 1.0, ' "say ""no"""'),
                 row("b.mp4", 2.0, '"talk, loudly",3'))
    assert [a.name for a in labels_of_file(path, Problems())] == ['say "no"', "talk, loudly"]


def test_what_is_found_twice_is_counted_once(folder):
    path = write(folder, row("a.mp4", 1.0, "hop"), "a.mp4,1,2", row("b.mp4", 2.0, "wave"))
    problems = Problems(skip=True)
    read(path, problems, labels_of_file(path, problems))
    assert problems.counts == {"bad row": 1}


def test_labels_follow_from_names(folder):
    path = write(folder, row("a.mp4", 1.0, "wave"), row("a.mp4", 2.0, "hop"), row("b.mp4", 1.0, "wave"))
    assert [(a.id, a.name) for a in labels_of_file(path, Problems())] == [(1, "hop"), (2, "wave")]
    with pytest.raises(UserError, match="--labels"):
        labels_of_file(write(folder, row("a.mp4", 1.0, "3")), Problems())


def test_label_files_of_all_shapes(tmp_path):
    old = 'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nitem {\n  name: "walk"\n  id: 14\n}\n'
    new = 'label {\n  name: "walk"\n  label_id: 14\n  label_type: PERSON_MOVEMENT\n}\n'
    (tmp_path / "old.pbtxt").write_text(old)
    (tmp_path / "new.pbtxt").write_text(new)
    (tmp_path / "own.csv").write_text("id,name\n5,hop\n")
    assert [(a.id, a.name) for a in read_label_file(tmp_path / "old.pbtxt")] == [
        (1, "bend/bow (at the waist)"), (14, "walk")]
    assert [(a.id, a.name) for a in read_label_file(tmp_path / "new.pbtxt")] == [(14, "walk")]
    assert [(a.id, a.name) for a in read_label_file(tmp_path / "own.csv")] == [(5, "hop")]
    assert len(read_label_file("ava")) == 80
    with pytest.raises(UserError, match="cannot be read"):
        read_label_file(tmp_path / "none.pbtxt")


def test_proposals_are_boxes_that_fit_a_labelled_one(tmp_path, folder):
    truth = write(folder, "a.mp4,1,0.1,0.1,0.5,0.9,hop", "a.mp4,1,0.6,0.1,0.9,0.9,wave")
    # IoU with hop: 0.39 / 0.4 = 0.975; 0.3 / 0.4 = 0.75; with wave: identical.
    predicted = write(
        tmp_path, "a.mp4,1,0.1,0.1,0.49,0.9,,0.99", "a.mp4,1,0.1,0.1,0.4,0.9,,0.99", "a.mp4,1,0.6,0.1,0.9,0.9,,0.99",
        "a.mp4,1,0.1,0.1,0.495,0.9,,0.3", name="predicted.csv",
    )
    (sample,) = add_proposals(read(truth), predicted, Problems(), least_score=0.8)
    np.testing.assert_allclose(sample.boxes[2:], [[0.1, 0.1, 0.49, 0.9]], atol=1e-6)
    np.testing.assert_array_equal(sample.targets, [[1, 0], [0, 1], [1, 0]])


def inside_is_white(image: np.ndarray, box: np.ndarray) -> bool:
    """Whether a box holds the square and its surroundings do not."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    inner = image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
    ring = [image[max(y1 - 5, 0) : max(y1 - 3, 0), x1:x2], image[y2 + 3 : y2 + 5, x1:x2]]
    return bool(inner.min() > 150 and all(part.max() < 100 for part in ring if part.size))


@pytest.mark.parametrize("view", [FrameView(72), TubeView(64, 1.5, 80)])
@pytest.mark.parametrize("augmented", [False, True])
def test_boxes_stay_on_the_square_through_every_transform(folder, view, augmented):
    path = write(folder, *(row("a.mp4", t, "hop") for t in (0.5, 1.5, 2.5)))
    augmentation = Augmentation((72, 90), 72, 0.5, brightness=0.05, contrast=0.1) if augmented else None
    clips = BoxClips(read(path), Sampling(8, 2, 30.0), view, augmentation)
    shown = 0
    for seed in range(6):
        np.random.seed(seed)
        for index in range(len(clips)):
            frames, boxes, targets = clips[index]
            assert frames.dtype == np.uint8
            assert frames.shape[0] == 8
            assert targets.shape == (len(boxes), 2)
            for box in boxes:
                visible = (box[2:] - box[:2]).min() > 12
                shown += visible
                assert not visible or inside_is_white(frames[4], box)
    assert shown >= 9


def test_the_same_seed_gives_the_same_clip(folder):
    clips = BoxClips(read(write(folder, row("a.mp4", 1.0, "hop"))), Sampling(4, 2), FrameView(72),
                     Augmentation((72, 90), 64, box_jitter=0.1))
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        results.append(clips[0])
    for a, b in zip(results[0], results[1]):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(results[0][0], results[2][0])


def test_a_broken_clip_is_an_error_or_replaced_and_counted(folder, capsys):
    samples = read(write(folder, row("broken.mp4", 1.0, "hop"), row("a.mp4", 1.0, "wave")))
    with pytest.raises(UserError, match=r"my\.csv, line 1: .*broken\.mp4: not a readable video"):
        BoxClips(samples, Sampling(4, 2), FrameView(72))[0]
    clips = BoxClips(samples, Sampling(4, 2), FrameView(72), skip_broken=True)
    np.testing.assert_array_equal(clips[0][2], [[0, 1]])
    assert clips.skipped.value == 1
    assert "broken.mp4" in capsys.readouterr().err


def test_people_outside_a_crop_are_left_out():
    images = np.zeros((2, 50, 100, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 20], [45, 10, 65, 30], [58, 0, 98, 40], [90, 0, 99, 9]], np.float32)
    # The crop is x 10..60: half, three quarters, a twentieth and nothing of them are in it.
    cropped, inside, kept = crop_clip(images, boxes, 10, 0, 50)
    assert cropped.shape == (2, 50, 50, 3)
    np.testing.assert_array_equal(kept, [True, True, False, False])
    np.testing.assert_array_equal(inside, [[0, 0, 10, 20], [35, 10, 50, 30]])


def test_flipping_twice_changes_nothing():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 8, 13, 3), np.uint8)
    boxes = np.array([[1, 2, 5, 7]], np.float32)
    flipped, mirrored = flip_clip(images, boxes)
    np.testing.assert_array_equal(mirrored, [[8, 2, 12, 7]])
    np.testing.assert_array_equal(flipped[:, 3, 12], images[:, 3, 0])
    again, back = flip_clip(flipped, mirrored)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(back, boxes)


def test_chance_is_used_as_asked():
    rng = np.random.default_rng(0)
    images = np.zeros((1, 40, 60, 3), np.uint8)
    images[:, :, :30] = 255
    boxes = np.array([[10, 10, 30, 30]], np.float32)
    mirrored = sum(
        crop_and_flip(images, boxes, Augmentation((40, 40), 0, 0.5), rng)[0][0, 0, 0, 0] == 0 for _ in range(400)
    )
    assert 150 < mirrored < 250
    moved = np.stack([jitter_boxes(boxes, Augmentation(box_jitter=0.1), rng)[0] for _ in range(200)]) - boxes
    assert 1.5 < np.abs(moved).max() <= 2.0


def test_rare_actions_are_drawn_more_often(folder):
    lines = [row("a.mp4", t, "hop") for t in (0.5, 1.0, 1.5, 2.0)] + [row("b.mp4", 1.0, "wave")]
    clips = BoxClips(read(write(folder, *lines)), Sampling(4, 2), TubeView(32, 1.5, 64))
    np.testing.assert_allclose(clips.balanced_weights(), [0.5, 0.5, 0.5, 0.5, 1.0])


def test_missing_boxes_are_filled_with_the_largest_person(folder):
    path = write(folder, "a.mp4,1.0,,,,,hop", "a.mp4,1.0,,,,,wave", row("b.mp4", 1.0, "hop"), "b.mp4,3.0,,,,,hop",
                 name="bare.csv")
    calls = []

    def find_people(image):
        calls.append(image.shape)
        if len(calls) == 2:
            return Boxes.empty()
        return Boxes(np.array([[0, 0, 10, 10], [40, 20, 80, 80]], np.float32), np.array([0.99, 0.8]))

    problems, lines = Problems(skip=True), []
    filled = fill_boxes(path, find_people, problems, say=lines.append)
    assert calls == [(90, 160, 3)] * 2
    assert [box for _, box in filled][:2] == [pytest.approx((0.25, 0.2222, 0.5, 0.8889))] * 2
    assert len(filled) == 3
    assert problems.counts == {"no person": 1}
    assert len(lines) == 1
    assert f"{path}, line 1: a.mp4 shows 2 people at 1 s, took the largest: (0.25, " in lines[0]


class TwoPeople:
    """A person detector that sees the same two everywhere."""

    def detect(self, image):
        return Boxes(np.array([[0, 0, 10, 10], [40, 20, 80, 80]], np.float32), np.array([0.99, 0.8]))

    def close(self):
        pass


def test_boxes_are_filled_without_naming_a_file(folder, monkeypatch, capsys):
    path = write(folder, "a.mp4,1.0,,,,,hop", "b.mp4,1.234567,,,,,wave", name="bare.csv")
    monkeypatch.setattr("detector.person.select.create_person_detector", lambda name: TwoPeople())
    monkeypatch.setattr(sys, "argv", ["fill_boxes", str(path)])
    assert run_command(fill_main) in (0, None)
    said = capsys.readouterr()
    assert f"wrote {folder / 'bare_boxes.csv'}: 2 rows with boxes" in said.out
    assert said.err.count("took the largest") == 2
    samples = read(folder / "bare_boxes.csv")
    assert [s.time_s for s in samples] == [1.0, 1.234567]


@pytest.mark.parametrize(("output", "said"), [("bare.csv", "is the input"), ("../x.csv", "in the input's folder")])
def test_the_input_is_never_written_over(folder, monkeypatch, capsys, output, said):
    path = write(folder, "a.mp4,1.0,,,,,hop", name="bare.csv")
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["fill_boxes", str(path), "--output", str(folder / output)])
    assert run_command(fill_main) == 2
    assert said in capsys.readouterr().err
    assert path.read_bytes() == before
