"""A small RTSP camera for tests: H.264 over TCP or UDP, packed by FFmpeg's own RTP muxer, with a Basic password."""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np
from conftest import numbered_picture


class RtspCamera:
    """Serves `pictures` numbered pictures a connection, at 25 a second; then hangs up, or with `silent` says no more.

    `draw(i)` gives another picture i, (H, W, 3) uint8 BGR. `transports` are those that it agrees to: tcp, udp,
    udp_multicast; `refusal` is what it says to others. A new `password` may be set at any time.

    Use as a context; `url` has the user and password in it, as they are.
    """

    def __init__(
        self, pictures: int = 40, silent: bool = False, draw: Callable[[int], np.ndarray] = numbered_picture, *,
        password: str = "secret", port: int = 0, transports: tuple[str, ...] = ("tcp",),
        refusal: str = "461 Unsupported Transport",
    ) -> None:
        self.connections, self._pictures, self._silent, self._draw = 0, pictures, silent, draw
        self.password, self._transports, self._refusal = password, transports, refusal
        self.asked: list[str] = []
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # not beyond this machine
        self._listener = socket.create_server(("127.0.0.1", port))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port = self._listener.getsockname()[1]
        self.url = f"rtsp://door:{password}@127.0.0.1:{self.port}/live"

    def __enter__(self) -> RtspCamera:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        # Closing alone does not wake accept() on Linux.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._sender.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            self._to = None
            data = b""
            try:
                while not self._over.is_set():
                    while b"\r\n\r\n" not in data:
                        more = connection.recv(4096)
                        if not more:
                            return
                        data += more
                    request, _, data = data.partition(b"\r\n\r\n")
                    if self._answer(connection, request.decode()) == "PLAY":
                        self.connections += 1
                        self._play(connection)
                        return
            except OSError:
                return

    def _answer(self, connection: socket.socket, request: str) -> str:
        method = request.split()[0]
        number = re.search(r"CSeq: *(\d+)", request, re.IGNORECASE).group(1)
        body, status, extra = "", "200 OK", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif "Basic " + base64.b64encode(f"door:{self.password}".encode()).decode() not in request:
            status, extra = "401 Unauthorized", 'WWW-Authenticate: Basic realm="door"\r\n'
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            extra = "Content-Type: application/sdp\r\n"
        elif method == "SETUP":
            status, extra = self._set_up(re.search(r"Transport: *(.*)", request).group(1).strip())
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        head = f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        return method if status.startswith("200") else ""

    def _set_up(self, asked: str) -> tuple[str, str]:
        """Status and headers of the answer to SETUP."""
        way = "tcp" if "/TCP" in asked else "udp_multicast" if "multicast" in asked else "udp"
        self.asked.append(way)
        if way not in self._transports:
            return self._refusal, ""
        answer = "RTP/AVP/TCP;unicast;interleaved=0-1"
        if way == "udp":
            port = int(re.search(r"client_port=(\d+)", asked).group(1))
            self._to = ("127.0.0.1", port)
            answer = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port=6970-6971"
        elif way == "udp_multicast":
            port = 20000 + self.port % 20000 * 2
            self._to = ("239.255.42.42", port)
            answer = f"RTP/AVP;multicast;destination=239.255.42.42;port={port}-{port + 1};ttl=1"
        return "200 OK", f"Transport: {answer}\r\nSession: 1\r\n"

    def _play(self, connection: socket.socket) -> None:
        """Mux RTP to a local UDP port and pass each packet on over the RTSP connection, as cameras do over TCP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
            relay.bind(("127.0.0.1", 0))
            relay.settimeout(0.2)
            address = f"rtp://127.0.0.1:{relay.getsockname()[1]}?pkt_size=1200"
            with av.open(address, "w", format="rtp") as rtp:
                stream = rtp.add_stream("libx264", rate=25, options={"tune": "zerolatency", "g": "5", "crf": "10"})
                (stream.height, stream.width), stream.pix_fmt = self._draw(0).shape[:2], "yuv420p"
                stream.codec_context.time_base = Fraction(1, 90_000)
                start = time.monotonic()
                for i in range(self._pictures):
                    if self._over.wait(max(start + i / 25 - time.monotonic(), 0)):
                        return
                    planes = cv2.cvtColor(self._draw(i), cv2.COLOR_BGR2YUV_I420)
                    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                    frame.pts, frame.time_base = i * 3600, Fraction(1, 90_000)
                    rtp.mux(stream.encode(frame))
                    self._pass_on(relay, connection)
            if self._silent:
                self._over.wait(30)

    def _pass_on(self, relay: socket.socket, connection: socket.socket) -> None:
        relay.settimeout(0.5)
        while True:
            try:
                packet = relay.recv(2048)
            except (TimeoutError, BlockingIOError):
                return
            if self._to is None:
                connection.sendall(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
            else:
                self._sender.sendto(packet, self._to)
            relay.settimeout(0.01)
