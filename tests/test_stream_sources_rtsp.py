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
