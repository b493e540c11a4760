"""Whole programs that are told to end while a camera is being connected; four at once, as on a small machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from stream_rtsp import RtspCamera

from stream.sources.network import open_network

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS, AT_MOST_S = 4, 3.0
PROGRAM = textwrap.dedent("""
    import sys
    sys.path.insert(0, "tests")
    import detector.tracking
    from stream import webcam
    from stream_fakes import FakeTracker, fake_session
    detector.tracking.Tracker = FakeTracker
    webcam.open_session = lambda *a, **k: fake_session()[0]
    sys.argv[1:] = ["--source", sys.argv[1], "--display", "none", "--output", sys.argv[2]]
    sys.exit(webcam.command())
""")


class Deaf(RtspCamera):
    """Serves so many connections, and takes later ones without a word."""

    def __init__(self, serves, pictures=20):
        super().__init__(pictures=pictures)
        self.serves, self.taken = serves, 0

    def _serve(self, connection):
        self.taken += 1
        if self.taken > self.serves:
            with connection:
                self._over.wait(60)
        else:
            super()._serve(connection)


def wait_for(condition, bound_s=120.0):
    give_up_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("lost", [False, True], ids=["at the start", "in mid-run"])
def test_four_programs_end_within_three_seconds_while_cameras_are_being_connected(tmp_path, lost):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Deaf(int(lost))) for _ in range(PROGRAMS)]
        programs = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, server.url, str(tmp_path / f"{n}.mp4")], cwd=ROOT, text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
            for n, server in enumerate(servers)
        ]
        try:
            # Whoever knocks to see whether the camera is back is one connection, and opening it another.
            wait_for(lambda: all(server.taken >= (3 if lost else 1) for server in servers))
            told_s = time.monotonic()
            for program in programs:
                program.send_signal(signal.SIGTERM)
            said = [program.communicate(timeout=60)[1] for program in programs]
            took_s = time.monotonic() - told_s
        finally:
            for program in programs:
                program.kill()
        assert [program.returncode for program in programs] == [143] * PROGRAMS, said
        assert all(text.rstrip().endswith("stopped") and "Traceback" not in text for text in said)
        assert took_s < AT_MOST_S


@pytest.mark.slow
@pytest.mark.ci
def test_a_server_that_was_stopped_in_mid_run_is_told_as_silent_and_taken_again(tmp_path):
    """SIGSTOP: its sockets stay open and take connections, and nothing is said on them."""
    port_file = tmp_path / "port"
    program = textwrap.dedent("""
        import sys, time
        sys.path.insert(0, "tests")
        from stream_rtsp import RtspCamera
        with RtspCamera(pictures=100_000) as camera:
            with open(sys.argv[1] + ".part", "w") as file:
                file.write(camera.url)
            import os
            os.rename(sys.argv[1] + ".part", sys.argv[1])
            time.sleep(300)
    """)
    server = subprocess.Popen([sys.executable, "-c", program, str(port_file)], cwd=ROOT)
    try:
        wait_for(port_file.exists)
        camera = open_network(port_file.read_text())
        frames = iter(camera)
        before = [next(frames) for _ in range(10)]
        os.kill(server.pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        with socket.socket() as knocker:  # it is there, to all appearances
            knocker.settimeout(5)
            knocker.connect(("127.0.0.1", int(camera.name.split(":")[2].split("/")[0])))
        got = []
        reader = threading.Thread(target=lambda: got.append(next(frames)), daemon=True)
        reader.start()
        while time.monotonic() - stopped_s < 60 and camera.status.online:
            if got:  # what was on its way
                got.clear()
                reader = threading.Thread(target=lambda: got.append(next(frames)), daemon=True)
                reader.start()
            time.sleep(0.05)
        assert "silent" in camera.status.message
        os.kill(server.pid, signal.SIGCONT)
        reader.join(60)
        assert got[0].time_s > before[-1].time_s
        assert camera.status.online
        camera.close()
    finally:
        server.kill()
        server.wait()
