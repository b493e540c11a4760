"""A real RTSP conversation with a small camera on this machine: password, loss, silence, connecting again."""

import threading
from itertools import islice, pairwise

import numpy as np
import pytest
from conftest import number_of
from stream_fakes import FakeTracker, fake_session
from stream_rtsp import RtspCamera

from detector.errors import UserError
from stream.pipeline import Pipeline
from stream.sources import network
from stream.sources.network import open_network
from stream.sources.reconnect import Backoff


def quick(event, seconds):
    return event.is_set()


def test_rtsp_pictures_come_with_their_own_times_and_no_password_is_shown():
    with RtspCamera(pictures=30) as server:
        camera = open_network(server.url)
        frames = list(islice(camera, 20))
        camera.close()
    numbers = [number_of(f.image) for f in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    # The first stamp is often missing; from then on times are the camera's own, whenever they arrived.
    np.testing.assert_allclose(np.diff([f.time_s for f in frames])[2:], 0.04, atol=0.005)
    assert "secret" not in camera.name
    assert "door" not in camera.name.split("@")[0]
    assert camera.live


def test_a_lost_rtsp_camera_is_connected_again():
    statuses = []

    def wait(event, seconds):
        statuses.append(camera.status)
        return event.is_set()

    with RtspCamera(pictures=10) as server:
        camera = open_network(server.url, wait=wait, backoff=Backoff(jitter=lambda: 0.0))
        frames = list(islice(camera, 14))
        assert server.connections >= 2
        camera.close()
    times = [f.time_s for f in frames]
    assert all(b > a for a, b in pairwise(times))
    assert not statuses[0].online
    assert "secret" not in statuses[0].message


@pytest.mark.parametrize(("transports", "refusal"), [
    (("udp",), "461 Unsupported Transport"), (("udp",), "400 Bad Request"),
    (("udp_multicast",), "461 Unsupported Transport"),
])
def test_a_server_without_tcp_is_watched_over_what_it_has(transports, refusal):
    with RtspCamera(pictures=40, transports=transports, refusal=refusal) as server:
        camera = open_network(server.url)
        frames = list(islice(camera, 15))
        camera.close()
    numbers = [number_of(f.image) for f in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 15))
    assert server.asked[0] == "tcp"
    assert server.asked[-1] == transports[0]


def test_the_transport_that_worked_is_asked_for_first_the_next_time():
    with RtspCamera(pictures=10, transports=("udp",)) as server:
        camera = open_network(server.url, wait=quick)
        list(islice(camera, 14))
        camera.close()
        assert server.asked[:3] == ["tcp", "udp", "udp"]


def test_a_server_that_refuses_every_transport_is_one_line():
    with RtspCamera(transports=()) as server, pytest.raises(UserError, match="cannot be opened") as caught:
        open_network(server.url)
    assert server.asked == ["tcp", "udp", "udp_multicast"]
    assert "secret" not in str(caught.value)


def test_a_transport_that_is_agreed_to_and_carries_nothing_is_not_asked_for_again(monkeypatch):
    asked = []

    class Agrees:
        """Agrees to whatever is asked for first; only UDP carries pictures."""

        fps, gave_pictures = 25.0, False

        def __init__(self, url, transports=network.TRANSPORTS, decoding=None):
            asked.append(list(transports))
            self.transport, self.video = transports[0], self
            self.duration_s = None

        def __iter__(self):
            if self.transport == "udp":
                self.gave_pictures = True
                yield np.zeros((4, 4, 3), np.uint8), None

        def close(self):
            pass

    monkeypatch.setattr(network, "NetworkStream", Agrees)
    monkeypatch.setattr(network, "knock", lambda url: None)
    camera = open_network("rtsp://host/live", wait=quick)
    assert len(list(islice(camera, 3))) == 3
    camera.close()
    assert asked == [["tcp", "udp", "udp_multicast"], *[["udp", "udp_multicast", "tcp"]] * 3]


@pytest.mark.parametrize("password", ["p@s/s#w%rd", "2024/secret", "a?b[c]", "p%40ss", "plain"])
def test_passwords_are_taken_as_they_are(password):
    with RtspCamera(pictures=30, password=password.replace("%40", "@")) as server:
        url = server.url.replace(server.password, password)
        camera = open_network(url)
        assert len(list(islice(camera, 3))) == 3
        camera.close()
    assert camera.name == f"rtsp://***@127.0.0.1:{server.port}/live"


def test_a_silent_rtsp_camera_is_connected_again(monkeypatch):
    monkeypatch.setattr(network, "READ_TIMEOUT_S", 1.0)
    with RtspCamera(pictures=30, silent=True) as server:
        camera = open_network(server.url, wait=quick)
        frames = list(islice(camera, 34))
        assert server.connections == 2
        camera.close()
    assert len(frames) == 34


def test_a_wrong_rtsp_password_is_one_line():
    with RtspCamera() as server, pytest.raises(UserError, match=r"401|[Uu]nauthorized") as caught:
        open_network(server.url.replace("secret", "wrongsecret"))
    assert "wrongsecret" not in str(caught.value)


def test_the_picture_says_that_the_camera_is_offline_and_then_goes_on(monkeypatch):
    monkeypatch.setattr(network, "READ_TIMEOUT_S", 1.0)
    session, _, _ = fake_session()
    seen = []
    with RtspCamera(pictures=30, silent=True) as server, session:
        source = open_network(server.url, backoff=Backoff(first_s=2.0, jitter=lambda: 0.0))
        with Pipeline(source, session, tracker=FakeTracker()) as pipeline:
            alarm = threading.Timer(40, pipeline.close)
            alarm.start()
            for update in pipeline:
                seen.append(update.status.online)
                if not update.status.online:
                    assert "secret" not in update.status.message
                if seen[-1] and False in seen:
                    break
            alarm.cancel()
            assert pipeline.close(timeout_s=20)
    assert seen[0]
    assert False in seen
    assert seen[-1]
