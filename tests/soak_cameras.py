"""Cameras that misbehave on command, for the soak: RTSP servers of this project's tests, and files."""

from __future__ import annotations

import re
import signal
import socket
import struct
import subprocess
import threading
import time
from fractions import Fraction

import av
import cv2
import numpy as np
from stream_rtsp import RtspCamera

FPS = 10
# GStreamer's server is run by the system's Python, which has its bindings.
SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
for name in ("x264enc", "rtph264pay", "videotestsrc"):
    if Gst.ElementFactory.find(name) is None:
        sys.exit(3)
if len(sys.argv) > 1:
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=10/1 ! "
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! rtph264pay name=pay0 pt=96 )"
    )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    GLib.MainLoop().run()
"""


def gstreamer_python() -> str | None:
    """A Python that can run GStreamer's RTSP server, or None."""
    try:
        tried = subprocess.run(["/usr/bin/python3", "-c", SERVER], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return "/usr/bin/python3" if tried.returncode == 0 else None


class GstCamera:
    """GStreamer's RTSP server with a bouncing ball. Faults: `killed` and `stalled`."""

    def __init__(self, python: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url, self._command = f"rtsp://127.0.0.1:{port}/live", [python, "-c", SERVER, str(port)]

    def __enter__(self) -> GstCamera:
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def set(self, fault: str) -> None:
        """Begin a fault, or end it with ""."""
        if fault == "killed":
            self._process.kill()
            self._process.wait()
        elif fault == "stalled":
            self._process.send_signal(signal.SIGSTOP)
        elif self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
        else:
            self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class FaultyCamera(RtspCamera):
    """An RTSP camera at 10 pictures a second for ever, until a fault is set.

    Faults: `killed` (hangs up and refuses), `stalled` (holds the line and says nothing), `password` (refuses the right
    one), `size` and `rate` (another one at the next connection; hangs up once), `black`, `lossy` (every fifth packet is
    lost), "" for none.
    """

    def __init__(self, seed: int) -> None:
        self.fault, self.size_hw, self.fps = "", (96, 128), FPS
        self._seed, self._hang_up, self._packets = seed, threading.Event(), 0
        super().__init__(pictures=10**9, draw=self._picture)

    def set(self, fault: str) -> None:
        """Begin a fault, or end it with ""."""
        if fault == "size":
            self.size_hw = (144, 128) if self.size_hw == (96, 128) else (96, 128)
        if fault == "rate":
            self.fps = 25 if self.fps == FPS else FPS
        self.fault = fault
        if fault in ("killed", "password", "size", "rate"):
            self._hang_up.set()

    def _picture(self, number: int) -> np.ndarray:
        h, w = self.size_hw
        if self.fault == "black":
            return np.zeros((h, w, 3), np.uint8)
        image = np.full((h, w, 3), 90 + 10 * (self._seed % 5), np.uint8)
        x = 4 * number % (w - 16)
        image[h // 3 : h // 3 + 40, x : x + 14] = (60, 60, 220)
        return image

    def _answer(self, connection: socket.socket, request: str) -> str:
        if self.fault == "killed":
            raise OSError("hangs up")
        if self.fault == "password":
            request = re.sub(r"Basic \S+", "Basic wrong", request)
        return super()._answer(connection, request)

    def _play(self, connection: socket.socket) -> None:
        self._hang_up.clear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
            relay.bind(("127.0.0.1", 0))
            address = f"rtp://127.0.0.1:{relay.getsockname()[1]}?pkt_size=1200"
            fps = self.fps
            with av.open(address, "w", format="rtp") as rtp:
                stream = rtp.add_stream("libx264", rate=fps, options={"tune": "zerolatency", "g": str(fps)})
                (stream.height, stream.width), stream.pix_fmt = self.size_hw, "yuv420p"
                stream.codec_context.time_base = Fraction(1, 90_000)
                start_s, i = time.monotonic(), 0
                while not self._over.wait(max(start_s + i / fps - time.monotonic(), 0)):
                    if self._hang_up.is_set():
                        return
                    planes = cv2.cvtColor(self._picture(i), cv2.COLOR_BGR2YUV_I420)
                    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                    frame.pts, frame.time_base = i * 90_000 // fps, Fraction(1, 90_000)
                    rtp.mux(stream.encode(frame))
                    self._pass_on(relay, connection)
                    i += 1

    def _pass_on(self, relay: socket.socket, connection: socket.socket) -> None:
        relay.settimeout(0.02)
        while True:
            try:
                packet = relay.recv(2048)
            except (TimeoutError, BlockingIOError):
                return
            self._packets += 1
            if self.fault == "stalled" or (self.fault == "lossy" and self._packets % 5 == 0):
                continue
            connection.sendall(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
            relay.settimeout(0.002)
