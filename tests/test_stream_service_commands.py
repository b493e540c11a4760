"""The command and what it is made of: example, schema, check, changed files, what is shared by two models."""

import json
import signal
import threading

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("ruamel.yaml")

from stream_fakes import fake_session
from stream_service_fakes import FakeCamera, House, settings, wait_until

from detector.errors import UserError
from stream import serve
from stream.service import commands
from stream.service.checking import try_cameras
from stream.service.listeners import Listeners
from stream.service.reading import read_cameras
from stream.service.sharing import Sharing


def test_the_example_is_printed_and_is_a_file_that_can_be_read(tmp_path, capsys):
    assert serve.main(["--example"]) == 0
    path = tmp_path / "cameras.yaml"
    path.write_text(capsys.readouterr().out)
    assert list(read_cameras(path, {}).file.cameras) == ["sample"]


def test_the_schema_knows_every_key_and_lets_source_stand_under_defaults(capsys):
    assert serve.main(["--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    camera = schema["$defs"]["Camera"]
    assert {"source", "every", "motion", "masks", "blur"} <= set(camera["properties"])
    assert all(about.get("description") for about in camera["properties"].values())
    assert "required" not in camera
    assert set(schema["properties"]["defaults"]["properties"]) == set(camera["properties"])
    assert schema["additionalProperties"] is camera["additionalProperties"] is False


@pytest.mark.parametrize(("argv", "words"), [
    ([], "--example > cameras.yaml"),
    (["x.yaml", "--seconds", "0"], "above 0"),
    (["x.yaml", "--once"], "--status"),
    (["/nowhere/x.yaml"], "no such file"),
    (["/nowhere/x.yaml", "--check"], "no such file"),
])
def test_a_mistake_is_one_line(argv, words):
    with pytest.raises(UserError, match=words) as caught:
        serve.main(argv)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    from stream.service import needs

    monkeypatch.setattr(needs, "PACKAGES", ("json", "no_such_package", "no_such.inner"))
    with pytest.raises(UserError, match=r"no_such_package, no_such\.inner.*pip install -e '\.\[serve\]'"):
        needs.require_serve()


def test_check_counts_pictures_says_what_is_wrong_and_leaves_who_hangs(tmp_path):
    path = tmp_path / "cameras.yaml"
    path.write_text(
        "cameras: {good: {source: a}, wrong: {source: b}, silent: {source: c}, off: {source: d, enabled: false}}"
    )

    def open_camera(given):
        if given.watched == "b":
            raise UserError("b: cannot be opened (401)")
        camera = FakeCamera()
        if given.watched == "a":
            camera.show(7)
        return camera

    tries = {tried.name: tried for tried in try_cameras(read_cameras(path, {}), open_camera, seconds=0.3)}
    assert list(tries) == ["good", "wrong", "silent"]
    assert tries["good"].line(5) == "good: 7 pictures of 64x48 in 5 s"
    assert tries["wrong"].line(5) == "wrong: b: cannot be opened (401)"
    assert tries["silent"].line(5) == "silent: no picture in 5 s"


def test_a_changed_file_is_noticed_also_where_it_is_replaced(tmp_path):
    pytest.importorskip("watchfiles")
    from stream.service.following import Following

    path, secret = tmp_path / "cameras.yaml", tmp_path / "secret"
    path.write_text("a")
    secret.write_text("b")
    changes = threading.Semaphore(0)
    following = Following(lambda: (path, secret), changes.release)
    try:
        for number in range(100):  # the watch may not have begun yet
            path.write_text(f"a{number}" * 2)
            if changes.acquire(timeout=1):
                break
        else:
            pytest.fail("the change was not noticed")
        other = tmp_path / "other"
        other.write_text("new secret")
        other.replace(secret)
        assert changes.acquire(timeout=20)
    finally:
        following.close()


def test_signals_stop_and_reload():
    stopped, reloaded = [], []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        commands._on_signals(lambda: stopped.append(1), lambda: reloaded.append(1))
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (len(stopped), len(reloaded)) == (2, 1)


def test_two_models_share_one_detector_and_unused_ones_are_freed(monkeypatch):
    opened = {}

    def open_model(model, detector):
        session, people, engine = fake_session(name=model)
        if not callable(detector):
            session._people = detector
        opened[model] = (session, people, engine, detector)
        return session

    with House() as house:
        house.sharing = Sharing(open_model=open_model, on_gpu=False)
        one = house.camera("one", settings(model="m1"))
        two = house.camera("two", settings(model="m2"))
        wait_until(lambda: len(house.sources.get("one", [])) and len(house.sources.get("two", [])))
        for _ in range(200):
            house.source("one").show(step_s=0.05)
            house.source("two").show(step_s=0.05)
            if house.answers_of("one") and house.answers_of("two"):
                break
            threading.Event().wait(0.02)
        assert house.answers_of("one")
        assert house.answers_of("two")
        assert {answer.model.name for answer in house.answers_of("two")} == {"m2"}
        used = [name for name, (_, people, _, _) in opened.items() if people.calls]
        assert len(used) == 1
        other = "two" if used == ["m1"] else "one"
        # The one whose detector is shared stays while the other uses it.
        leaving = one if other == "two" else two
        leaving.stop()
        house.sharing.leave(leaving)
        monkeypatch.setattr("stream.service.sharing.UNUSED_S", 0.0)
        house.sharing.sweep()
        assert len(house.sharing.sessions()) == 2


def test_a_model_that_nobody_uses_any_more_is_freed(monkeypatch):
    monkeypatch.setattr("stream.service.sharing.UNUSED_S", 0.0)
    with House() as house:
        camera = house.camera("a")
        house.source("a")
        house.sharing.sweep()
        assert len(house.sharing.sessions()) == 1
        camera.stop()
        house.sharing.leave(camera)
        house.sharing.sweep()
        assert not house.sharing.sessions()
        wait_until(lambda: house.detector.closed == 1, "the detector is freed")


def test_a_slow_or_broken_listener_holds_nobody_up():
    listeners, going, heard = Listeners(capacity=3), threading.Event(), []

    def slow(camera, result):
        going.wait(20)
        heard.append(result)
        raise ValueError("broken")

    leave = listeners.add(slow)
    for i in range(10):
        listeners.tell("a", i)
    assert listeners.waiting <= 3
    going.set()
    wait_until(lambda: not listeners.waiting)
    assert listeners.dropped >= 6
    leave()
    listeners.tell("a", 99)
    assert listeners.close(10)
    assert heard[-1] == 9
