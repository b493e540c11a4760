"""Key frames alone while a camera is quiet, and all of them again as soon as something moves; hardware or software."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import number_of, numbered_picture

from stream.sources.decode import Decoding, open_video

GOP = 10
OPTIONS = {
    "libx264": lambda b: {"g": str(GOP), "bf": str(b), "sc_threshold": "0", "crf": "10"},
    "libx265": lambda b: {"x265-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:bframes={b}:scenecut=0:crf=10"},
}


@pytest.fixture(params=[("libx264", 0), ("libx264", 3), ("libx265", 0), ("libx265", 3)], ids=str)
def film(request, tmp_path):
    """Fifty numbered pictures with a key frame at each tenth."""
    codec, b_frames = request.param
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.options = OPTIONS[codec](b_frames)
        for number in range(5 * GOP):
            planes = cv2.cvtColor(numbered_picture(number, (48, 64)), cv2.COLOR_BGR2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return str(path)


def numbers(video):
    return [(number_of(image), round(time_s * 10)) for image, time_s in video]


def test_key_frames_alone_come_whole_and_with_their_times(film):
    with open_video(film, low_delay=True, decoding=Decoding(keys_only=lambda: True)) as video:
        got = numbers(video)
    assert [at for _, at in got] == [0, 10, 20, 30, 40]
    assert [number for number, _ in got] == [at for _, at in got]


def test_each_key_frame_comes_before_the_next_is_read(film):
    read = []

    def keys_only():
        read.append(1)
        return True

    with open_video(film, low_delay=True, decoding=Decoding(keys_only=keys_only)) as video:
        after = [len(read) for _ in video]
    assert len(after) == 5
    assert all(count <= 1 + GOP * i for i, count in enumerate(after))


def test_all_pictures_come_again_and_none_of_them_torn(film):
    quiet = [True]
    got = []
    with open_video(film, low_delay=True, decoding=Decoding(keys_only=lambda: quiet[0])) as video:
        for image, time_s in video:
            got.append((number_of(image), round(time_s * 10)))
            quiet[0] = len(got) < 3
    times = [at for _, at in got]
    assert times[:3] == [0, 10, 20]
    # At once where the decoder holds nothing back, else from the next key frame on.
    assert times[3:] in (list(range(21, 50)), list(range(30, 50)))
    assert [number for number, _ in got] == times


def test_becoming_quiet_within_a_film_loses_no_key_frame(film):
    seen = []
    with open_video(film, low_delay=True, decoding=Decoding(keys_only=lambda: len(seen) > 4)) as video:
        for image, time_s in video:
            seen.append((number_of(image), round(time_s * 10)))
    times = [at for _, at in seen]
    assert times == sorted(set(times))
    assert {20, 30, 40} <= set(times)
    assert [number for number, _ in seen] == times


@pytest.mark.parametrize("hardware", ["auto", "vaapi", "cuda"])
def test_without_the_hardware_one_line_is_said_and_software_decodes(film, hardware, caplog):
    with open_video(film, decoding=Decoding(hardware=hardware)) as video:
        got = numbers(video)
    assert [at for _, at in got] == list(range(50))
    assert np.abs(np.array([number for number, _ in got]) - np.arange(50)).max() == 0
    assert len([r for r in caplog.records if "in software" in r.getMessage()]) <= 1


def test_one_of_so_many_pictures_is_handed_out_with_its_own_time(film):
    with open_video(film, low_delay=True, decoding=Decoding(every=lambda: 4)) as video:
        got = numbers(video)
    assert [at for _, at in got] == [number for number, _ in got]
    assert [at for _, at in got][:3] == [3, 7, 11]
    assert len(got) in (12, 13)  # what the decoder held back at the end comes whole


def test_packets_alone_are_shown_and_nothing_is_decoded(film):
    packets = []
    decoding = Decoding(tap=lambda packet, stream: packets.append(packet.size), packets_only=True)
    with open_video(film, low_delay=True, decoding=decoding) as video:
        assert list(video) == []
    assert len([size for size in packets if size]) == 5 * GOP
