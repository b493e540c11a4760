"""Kinetics and Charades lists as downloaded, and the clips of their videos."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from detector.data.problems import Problems
from detector.data.transforms import Augmentation
from detector.data.video_clips import VideoClips
from detector.data.videos import read_charades, read_kinetics
from detector.errors import UserError
from detector.labels import Action, LabelMap
from detector.sampling import Sampling

LABELS = LabelMap("three", (Action(0, "abseiling"), Action(1, "air drumming"), Action(2, "answering questions")))


def write_ramp(path, seconds: float = 4.0, fps: int = 20):
    """A video whose brightness tells the time: 2 levels a frame from 20 on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(round(seconds * fps)):
            image = np.full((64, 96, 3), 20 + 2 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinetics")
    (folder / "air_drumming").mkdir()
    write_ramp(folder / "air_drumming/abcdefghijk_000010_000020.mp4")
    write_ramp(folder / "zzz.mp4", 0.5)
    (folder / "frames/AAAA").mkdir(parents=True)
    for i in range(1, 49):
        cv2.imwrite(str(folder / f"frames/AAAA/AAAA-{i:06d}.jpg"), np.full((64, 96, 3), 4 * i, np.uint8))
    return folder


def test_kinetics_as_downloaded(folder, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "label,youtube_id,time_start,time_end,split\nair drumming,abcdefghijk,10,20,train\nabseiling,zzz,0,10,train\n"
        '"answering questions",gone,5,15,train\nswimming,zzz,0,10,train\n'
    )
    with pytest.raises(UserError, match=r"train\.csv, line 4: no video gone_000005_000015"):
        read_kinetics(path, LABELS, folder, Problems())
    problems = Problems(skip=True)
    videos = read_kinetics(path, LABELS, folder, problems)
    assert [(v.source.stem, v.spans[0][0]) for v in videos] == [("abcdefghijk_000010_000020", 1), ("zzz", 0)]
    assert problems.counts == {"missing video": 1, "unknown label": 1}


def test_kinetics_as_a_list_of_videos(folder, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("air_drumming/abcdefghijk_000010_000020.mp4 1\nzzz.mp4,0\nzzz.mp4 7\nzzz.mp4\n")
    problems = Problems(skip=True)
    videos = read_kinetics(path, LABELS, folder, problems)
    assert [(v.source.name, v.spans[0][0]) for v in videos] == [("abcdefghijk_000010_000020.mp4", 1), ("zzz.mp4", 0)]
    assert problems.counts == {"unknown label": 1, "bad row": 1}
    assert "line 3: got 7, expected 0 to 2" in problems.summary()


@pytest.mark.parametrize(("line", "said"), [
    ("abseiling,zzz,ten,20,train", "got time 'ten', expected seconds"),
    ("abseiling,zzz,10,nan,train", "got time 'nan'"), ("abseiling,zzz,10,1e400,train", "got time '1e400'"),
    ("abseiling,zzz,-5,10,train", "got time '-5'"), ("abseiling", "got 1 columns"),
    ("abseiling,zzz,1,2,train,3,4", "got 7 columns"), ('"abseiling,zzz,1,2,train', "stray quote"),
    ("abseiling,,1,2,train", "expected label,youtube_id"), ("Abseiling,zzz,1,2,train", "perhaps 'abseiling'?"),
])
def test_a_broken_row_of_kinetics_is_one_line_with_its_place(folder, tmp_path, line, said):
    path = tmp_path / "train.csv"
    path.write_text(f"label,youtube_id,time_start,time_end,split\nabseiling,zzz,0,10,train\n{line}\n"
                    "air drumming,zzz,0,10,train\n")
    with pytest.raises(UserError, match=r"train\.csv, line 3: ") as caught:
        read_kinetics(path, LABELS, folder, Problems())
    assert said in str(caught.value)
    problems = Problems(skip=True)
    assert len(read_kinetics(path, LABELS, folder, problems)) == 2
    assert sum(problems.counts.values()) == 1


@pytest.mark.parametrize("number", ["x", "-1", "²", "1.5", "9" * 30])
def test_a_label_number_that_is_none_is_one_line(folder, tmp_path, number):
    path = tmp_path / "train.csv"
    path.write_text(f"zzz.mp4 0\nzzz.mp4 {number}\n")
    with pytest.raises(UserError, match=r"train\.csv, line 2: got"):
        read_kinetics(path, LABELS, folder, Problems())


@pytest.mark.parametrize(("line", "said"), [
    ("zzz,c001 a 21.20,30", "got action 'c001 a 21.20', expected"), ("zzz,c001 1 nan,30", "got action 'c001 1 nan'"),
    ("zzz,c00² 1 2,30", "got action"), ("zzz,1 1 2,30", "got action"), ("zzz,c999 1 2,30", "NNN below 3"),
    ("zzz", "got 1 columns"), ("zzz,c001 1 2,30,4", "got 4 columns"), ('zzz,"c001 1 2,30', "stray quote"),
    ("gone,c001 1 2,30", "no video 'gone'"),
])
def test_a_broken_row_of_charades_is_one_line_with_its_place(folder, tmp_path, line, said):
    path = tmp_path / "train.csv"
    path.write_text(f"id,actions,length\nzzz,c000 0 1;c002 1.5 2,30\n{line}\nzzz,,30\n")
    with pytest.raises(UserError, match=r"train\.csv, line 3: ") as caught:
        read_charades(path, LABELS, folder, Problems())
    assert said in str(caught.value)
    problems = Problems(skip=True)
    assert len(read_charades(path, LABELS, folder, problems)) >= 2


@pytest.mark.parametrize("line", ['AAAA 0 x AAAA/AAAA-000001.jpg "1"', 'AAAA 0 ² AAAA/A.jpg "1"', "AAAA 0 1",
                                  'AAAA 0 1 AAAA/A.jpg "1,²"', 'AAAA 0 1 AAAA/A.jpg "1'])
def test_a_broken_row_of_a_frame_list_is_one_line_with_its_place(folder, tmp_path, line):
    path = tmp_path / "train.csv"
    path.write_text(f'original_vido_id video_id frame_id path labels\nAAAA 0 1 AAAA/AAAA-000001.jpg "1"\n{line}\n')
    with pytest.raises(UserError, match=r"train\.csv, line 3: got"):
        read_charades(path, LABELS, folder / "frames", Problems())


def test_charades_as_downloaded(folder, tmp_path):
    path = tmp_path / "Charades_v1_train.csv"
    path.write_text('id,subject,actions,length\nzzz,X,"c001 0.10 0.20;c002 0.30 0.50",0.5\nAAAA,Y,,2\nnone,Y,,2\n')
    problems = Problems(skip=True)
    first, second = read_charades(path, LABELS, folder, problems)
    assert first.spans == ((1, 0.1, 0.2), (2, 0.3, 0.5))
    np.testing.assert_array_equal(first.targets(3), [[0, 1, 1]])
    np.testing.assert_array_equal(first.targets(3, 0.0, 0.25), [[0, 1, 0]])
    assert (second.source.name, second.spans) == ("AAAA", ())
    assert problems.counts == {"missing video": 1}


def test_charades_as_frame_lists(folder, tmp_path):
    path = tmp_path / "train.csv"
    lines = ["original_vido_id video_id frame_id path labels"]
    for i in range(48):
        labels = "1" if i < 12 else "1,2" if i < 24 else ""
        lines.append(f'AAAA 0 {i} AAAA/AAAA-{i + 1:06d}.jpg "{labels}"')
    path.write_text("\n".join(lines) + "\n")
    (video,) = read_charades(path, LABELS, folder / "frames", Problems())
    assert video.source == folder / "frames/AAAA"
    assert video.spans == ((1, 0.0, pytest.approx(23 / 24)), (2, pytest.approx(0.5), pytest.approx(23 / 24)))
    path.write_text(lines[0] + '\nAAAA 0 0 AAAA/AAAA-000001.jpg "1,9"\n')
    with pytest.raises(UserError, match=r"line 2: got"):
        read_charades(path, LABELS, folder / "frames", Problems())


def test_a_validation_clip_is_the_centre_of_the_video(folder, tmp_path):
    path = tmp_path / "val.csv"
    path.write_text("air_drumming/abcdefghijk_000010_000020.mp4 1\n")
    clips = VideoClips(read_kinetics(path, LABELS, folder, Problems()), 3, Sampling(8, 3, 30.0), short_side_px=48)
    frames, boxes, targets = clips[0]
    assert (frames.shape, boxes) == ((8, 48, 48, 3), None)
    np.testing.assert_array_equal(targets, [[0, 1, 0]])
    # 4 s long, span 0.8 s: from 1.6 s on, a tenth of a second apart: every second frame of 20 fps.
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 20 + 2 * (32 + 2 * np.arange(8)), atol=3)


def test_training_clips_start_anywhere_and_keep_their_stride(folder, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("air_drumming/abcdefghijk_000010_000020.mp4 1\n")
    clips = VideoClips(
        read_kinetics(path, LABELS, folder, Problems()), 3, Sampling(8, 3, 30.0), Augmentation((48, 60), 40)
    )
    firsts = []
    for seed in range(12):
        np.random.seed(seed)
        frames, _, _ = clips[0]
        assert frames.shape == (8, 40, 40, 3)
        levels = frames.mean((1, 2, 3))
        np.testing.assert_allclose(np.diff(levels), 4, atol=2.5)
        firsts.append((levels[0] - 20) / 40)
    assert min(firsts) < 0.8
    assert max(firsts) > 2.2
    assert max(firsts) < 3.3


def test_a_video_shorter_than_a_clip_repeats_its_last_frame(folder, tmp_path):
    path = tmp_path / "val.csv"
    path.write_text("zzz.mp4 0\n")
    clips = VideoClips(read_kinetics(path, LABELS, folder, Problems()), 3, Sampling(8, 6, 30.0), short_side_px=48)
    levels = clips[0][0].mean((1, 2, 3))
    np.testing.assert_allclose(levels[:3], [20, 28, 36], atol=3)
    np.testing.assert_allclose(levels[3:], 38, atol=3)
