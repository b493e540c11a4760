"""The command: its help, and one line for each mistake."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from demo.__main__ import default_person_threshold, find_models, link, listen, main, parser
from demo.measure import CHECK_BITS, COUNTER_BITS, stamp, write_camera
from detector.errors import UserError
from detector.weights.zoo import DETECTOR_MODELS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_weights_here(monkeypatch, tmp_path):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    monkeypatch.setattr("detector.weights.choose.bundled_path", lambda: None)


def test_help_needs_nothing_heavy_and_names_the_safe_defaults():
    code = (
        "import sys; from demo.__main__ import parser; parser().format_help();"
        "sys.exit(bool({'torch', 'gradio', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    words = parser().format_help()
    assert "127.0.0.1" in words
    assert "--allow-urls" in words
    defaults = parser().parse_args([])
    assert (defaults.host, defaults.allow_urls) == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--visitors", "0"], "--visitors: got 0"), (["--max-upload-mb", "-1"], "--max-upload-mb: got -1"),
        (["--max-minutes", "nan"], "--max-minutes"), (["--person-threshold", "2"], "expected 0 to 1"),
        (["--tls-cert", "x.pem"], "expected both"), (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "no such file"),
        (["--port", "0", "--host-name", "https://demo.example"], "--host-name"),
        (["--port", "0", "--host-name", "demo.example:443"], "without a port"),
        (["--port", "70000"], "0 to 65535"), (["--host", "no.such.host.invalid", "--port", "0"], "cannot listen"),
        (["--port", "0", "--model", "resnet"], "unknown"), (["--port", "0"], "--untrained"),
        (["--port", "0", "--untrained", "--model", "slowfast_8x8_r50_k400"], "slowfast_8x8_r50_k400"),
    ],
)
def test_mistakes_are_one_line(arguments, says):
    with pytest.raises(UserError) as error:
        main(arguments)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_port_in_use_is_told_with_another_to_try():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"try --port {port + 1}"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["wrong.invalid", "192.0.2.1"])
def test_a_wrong_host_is_answered_with_hosts_not_with_a_port(host):
    with pytest.raises(UserError) as error:
        listen(host, 7860)
    assert "--host 127.0.0.1 (for it alone) or --host 0.0.0.0" in str(error.value)
    assert "--port 7861" not in str(error.value)


@pytest.mark.parametrize(("number", "port", "says"), [
    (errno.EACCES, 80, "ports below 1024"), (errno.EADDRINUSE, 7860, "try --port 7861"),
    (errno.EADDRINUSE, 65535, "try --port 7860"),
])
def test_what_is_advised_fits_what_went_wrong(monkeypatch, number, port, says):
    class Refused(socket.socket):
        def bind(self, address):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(UserError, match=says):
        listen("127.0.0.1", port)


def test_the_link_names_what_to_open():
    with listen("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", link(listener, False))
    with listen("0.0.0.0", 0) as listener:
        assert link(listener, True).startswith(f"https://{socket.gethostname()}:")


def test_without_weights_only_the_untrained_model_is_offered():
    assert len(find_models(None, untrained=True)) == 1


@pytest.mark.parametrize("name", ["ssdlite", "torchvision_mobilenet"])
def test_the_person_slider_starts_where_the_detector_was_calibrated(name):
    class Session:
        detector_name = ""
        notices = ("actions: something", f"people: {name} (openvino); for a better one: …")

    assert default_person_threshold(Session()) == DETECTOR_MODELS[name].threshold


def test_an_unknown_detector_starts_at_the_papers_threshold():
    class Session:
        detector_name, notices = "their own", ()

    assert default_person_threshold(Session()) == 0.8


@pytest.mark.parametrize("number", [0, 1, 300, 511, 512])
def test_stamped_numbers_can_be_read_back(number):
    image = np.full((48, 640, 3), 120, np.uint8)
    stamp(image, number)
    blocks = COUNTER_BITS + CHECK_BITS
    bits = [int(image[-1, round((i + 0.5) * 640 / blocks), 1] > 128) for i in range(blocks)]
    read = sum(bit << i for i, bit in enumerate(bits[:COUNTER_BITS]))
    check = sum(bit << i for i, bit in enumerate(bits[COUNTER_BITS:]))
    assert read == number % 512
    assert check == sum(bits[:COUNTER_BITS])
    assert (image[:40] == 120).all()


def test_the_fake_camera_is_a_y4m_of_the_right_size(tmp_path):
    from demo_fakes import write_video

    clip = write_video(tmp_path / "clip.mp4", [0.3] * 5)
    path = write_camera(tmp_path / "camera.y4m", str(clip), seconds=0.5, size_hw=(48, 64))
    header, _, rest = path.read_bytes().partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 W64 H48 F30:1")
    assert len(rest) == 15 * (len(b"FRAME\n") + 48 * 64 * 3 // 2)


@pytest.mark.slow
@pytest.mark.ci
def test_ctrl_c_ends_the_server_and_deletes_its_files(tmp_path):
    import signal

    from demo.measure import Server

    os.environ["TMPDIR"] = str(tmp_path)
    try:
        with Server([], (str(Path(__file__).with_name("demo_fakes.py")),)) as server:
            assert list(tmp_path.glob("slowfast-demo-*"))
            server.process.send_signal(signal.SIGINT)
            server.process.wait(30)
    finally:
        del os.environ["TMPDIR"]
    assert not list(tmp_path.glob("slowfast-demo-*"))
