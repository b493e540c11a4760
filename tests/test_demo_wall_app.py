"""The wall's routes: who gets in, who may change, hosts and origins, places under a proxy's path, the line of tiles."""

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("itsdangerous")
pytest.importorskip("argon2")
pytest.importorskip("sqlalchemy")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from stream_service_fakes import wait_until
from wall_fakes import fake_service

from demo.wall.accounts import Accounts, Attempts, write_account
from demo.wall.app import Wall, create_wall_app
from demo.wall.command import check_wall
from demo.wall.guard import session_key
from demo.wall.line import HEADER, MOST_UNSHOWN, WallLine
from detector.errors import UserError

KEY = "k" * 40
BASE = "http://127.0.0.1:7860"
OWN = {"Host": "127.0.0.1:7860", "Origin": BASE}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = fake_service(tmp_path_factory.mktemp("wall"))
    made.start()
    yield made
    made.close(5)


@pytest.fixture
def accounts(tmp_path):
    path = tmp_path / "accounts.txt"
    write_account(path, "ann", "admin", "correct horse")
    write_account(path, "vic", "viewer", "battery staple")
    return Accounts(path)


def client(service, accounts=None, **options) -> TestClient:
    wall = Wall(service, accounts, attempts=Attempts(most_of_address=3))
    return TestClient(create_wall_app(wall, KEY, **options), base_url=BASE, client=("127.0.0.1", 50000))


def test_a_polite_kill_ends_what_goes_on_and_keeps_it(tmp_path):
    import signal
    from pathlib import Path

    from demo.measure import Server
    from stream.events.store import Store

    with Server([str(tmp_path)], (str(Path(__file__).with_name("wall_fakes.py")),)) as server:
        store = Store(f"sqlite:///{tmp_path}/e.db")
        wait_until(store.events, "an event")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 128 + signal.SIGTERM
    assert all(event.end_s is not None for event in store.events())


def log_in(visitor, name="ann", password="correct horse"):
    return visitor.post("/login", json={"name": name, "password": password}, headers={"Origin": BASE})


PRIVATE = ("/api/me", "/api/events", "/api/day", "/api/cameras/door/places", "/api/cameras/door/rules",
           "/api/cameras/door/still.jpg", "/plotly.js", "/static/main.js", "/healthz")


def test_without_a_session_there_is_the_login_and_nothing_else(service, accounts):
    visitor = client(service, accounts)
    assert visitor.get("/", follow_redirects=False).headers["location"] == "login"
    assert "Password" in visitor.get("/login").text
    assert visitor.get("/static/login.js").status_code == 200
    for path in PRIVATE:
        assert visitor.get(path).status_code == 401, path
    assert visitor.post("/api/cameras/door/places", json={}).status_code == 401
    for line in ("/line", "/api/events/changes"):
        with pytest.raises(WebSocketDisconnect) as refused, visitor.websocket_connect(line, headers=OWN):
            pass
        assert refused.value.code == 4401


def test_admins_change_and_viewers_see(service, accounts):
    admin, viewer = client(service, accounts), client(service, accounts)
    assert log_in(admin).json() == {"name": "ann", "role": "admin"}
    assert log_in(viewer, "vic", "battery staple").json()["role"] == "viewer"
    for visitor in (admin, viewer):
        assert visitor.get("/api/cameras/door/places").status_code == 200
        assert visitor.get("/").status_code == 200
    rule = {"rule": {"name": "x", "kind": "stay", "for": 1}}
    assert admin.post("/api/cameras/door/rules/preview", json=rule).status_code == 200
    for path in ("/api/cameras/door/places", "/api/cameras/door/rules", "/api/events/x/mark"):
        assert viewer.post(path, json=rule).status_code == 403
    assert viewer.delete("/api/cameras/door").status_code == 405


def test_the_cookie_is_signed_strict_and_out_of_reach(service, accounts):
    visitor = client(service, accounts)
    cookie = log_in(visitor).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    secure = client(service, accounts, https=True)
    assert "secure" in log_in(secure).headers["set-cookie"].lower()
    # Signed by another key, or changed, it is nobody's.
    forged = TestClient(create_wall_app(Wall(service, accounts), "x" * 40), base_url=BASE)
    forged.cookies.set("slowfast_session", visitor.cookies["slowfast_session"])
    assert forged.get("/api/me").status_code == 401


def test_logging_out_and_another_password_end_a_session(service, accounts, tmp_path):
    visitor = client(service, accounts)
    log_in(visitor)
    write_account(tmp_path / "accounts.txt", "ann", "admin", "another password")
    assert visitor.get("/api/me").status_code == 401
    assert log_in(visitor, password="another password").status_code == 200
    assert visitor.post("/logout").status_code == 200
    assert visitor.get("/api/me").status_code == 401


def test_guessing_is_slowed_down(service, accounts):
    visitor = client(service, accounts)
    for _ in range(3):
        assert log_in(visitor, password="wrong password").status_code == 403
    refused = log_in(visitor)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 100


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b'{"name": 1, "password": "x"}', b'{"name": "a b", "password": "x"}', b"[" * 5000,
    b"x" * 300_000,
])
def test_nonsense_at_the_login_is_told_in_a_line(service, accounts, body):
    answer = client(service, accounts).post("/login", content=body)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_other_hosts_and_other_sites_get_nothing(service):
    visitor = client(service)
    assert visitor.get("/", headers={"Host": "evil.example"}).status_code == 421
    save = {"places": {}, "stamp": ""}
    evil = {"Origin": "http://evil.example"}
    assert visitor.post("/api/cameras/door/places", json=save, headers=evil).status_code == 403
    for origin in ({}, evil):
        headers = {"Host": OWN["Host"], **origin}
        with pytest.raises(WebSocketDisconnect), visitor.websocket_connect("/line", headers=headers):
            pass
    with visitor.websocket_connect("/line", headers=OWN) as line:
        assert [camera["name"] for camera in line.receive_json()["state"]] == ["door", "hall", "yard"]
        # Starlette's test client cancels whatever still runs when it leaves.
        line.close()
        wait_until(lambda: visitor.get("/healthz").json()["lines"] == 0)
    headers = visitor.get("/").headers
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert "script-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [
    "/static/../app.py", "/static/..%2fapp.py", "/static/nothing.js", "/static/a/b.js", "/gradio_api/info", "/docs",
    "/openapi.json", "/static/__init__.py", "/upload",
])
def test_what_the_page_does_not_need_is_not_there(service, path):
    assert client(service).get(path).status_code == 404


def test_no_page_names_another_host(service):
    visitor = client(service)
    for name in ("", "static/main.js", "static/line.js", "static/wall.js", "static/events.js", "static/setup.js",
                 "static/rules.js", "static/people.js", "static/wall.css", "login"):
        text = visitor.get(f"/{name}").text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert 'href="/' not in text, "addresses are relative: the page may be served under a path"
        assert 'src="/' not in text


def test_under_a_proxys_path_all_is_there_with_and_without_it(service):
    visitor = client(service, under="/cams")
    for path in ("/cams/", "/", "/cams/api/me", "/api/me", "/cams/static/main.js"):
        assert visitor.get(path).status_code == 200, path
    assert visitor.get("/cams", follow_redirects=False).headers["location"] == "cams/"
    assert visitor.get("/camsx/").status_code == 404


def test_places_and_rules_are_saved_and_mistakes_told(tmp_path):
    service = fake_service(tmp_path)
    service.start()
    try:
        visitor = client(service)
        got = visitor.get("/api/cameras/hall/places").json()
        square = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
        save = {"places": {"zones": {"mat": square}}, "stamp": got["stamp"]}
        saved = visitor.post("/api/cameras/hall/places", json=save)
        assert saved.status_code == 200
        assert visitor.get("/api/cameras/hall/rules").json()["zones"] == ["mat"]
        late = visitor.post("/api/cameras/hall/places", json={"places": {}, "stamp": got["stamp"]})
        assert (late.status_code, "changed meanwhile" in late.text) == (400, True)
        rule = {"name": "in", "kind": "enter", "zones": ["mat"]}
        stamp = saved.json()["stamp"]
        bad = visitor.post("/api/cameras/hall/rules", json={"stamp": stamp, "rule": rule | {"zones": ["cellar"]}})
        assert (bad.status_code, "cellar" in bad.json()["errors"][0]) == (400, True)
        good = visitor.post("/api/cameras/hall/rules", json={"stamp": stamp, "rule": rule})
        assert good.status_code == 200
        service.reload()
        assert [one.name for one in service.described.rules["hall"].rules] == ["in"]
        gone = visitor.post("/api/cameras/hall/rules",
                            json={"stamp": good.json()["stamp"], "rule": None, "before": "in"})
        assert gone.status_code == 200
        assert visitor.get("/api/cameras/nobody/places").status_code == 404
        assert "hunter2" not in visitor.get("/api/cameras/yard/rules").text
    finally:
        service.close(5)


class Page:
    """The other end of a wall's line."""

    def __init__(self) -> None:
        self.said: asyncio.Queue = asyncio.Queue()
        self.states, self.pictures = [], []

    async def receive(self):
        return await self.said.get()

    async def send_text(self, data: str) -> None:
        self.states.append(json.loads(data))

    async def send_bytes(self, data: bytes) -> None:
        self.pictures.append(data)

    def say(self, **what) -> None:
        self.said.put_nowait({"type": "websocket.receive", "text": json.dumps(what)})


def test_only_what_is_visible_is_sent_and_no_more_than_the_page_shows(tmp_path):
    service = fake_service(tmp_path)
    service.start()
    try:
        wall = Wall(service)
        wait_until(lambda: all(
            (one := service.supervisor.camera(name)) and one.session and one.look() for name in ("door", "hall")
        ))

        async def body() -> None:
            page = Page()
            task = asyncio.create_task(WallLine(page, service, wall.tiles).run())
            await asyncio.sleep(0.3)
            assert page.pictures == []
            page.say(want={"door": [200, 20], "nobody": [100, 5], "hall": "x"})
            for _ in range(200):
                await asyncio.sleep(0.02)
                service.supervisor.tick()
            # It shows none: after so many no more come.
            assert len(page.pictures) == MOST_UNSHOWN
            abouts = []
            for data in page.pictures:
                (length,) = HEADER.unpack_from(data)
                abouts.append(json.loads(data[HEADER.size:HEADER.size + length]))
                assert data[HEADER.size + length:][:2] == b"\xff\xd8"
            assert {about["camera"] for about in abouts} == {"door"}
            assert len({about["time_s"] for about in abouts}) == MOST_UNSHOWN
            page.say(shown=1)
            page.said.put_nowait({"type": "websocket.receive", "text": "{nonsense"})
            for _ in range(50):
                await asyncio.sleep(0.02)
            assert len(page.pictures) == MOST_UNSHOWN + 1
            page.said.put_nowait({"type": "websocket.disconnect"})
            await asyncio.wait_for(task, 5)
            names = [camera["name"] for camera in page.states[-1]["state"]]
            assert names == ["door", "hall", "yard"]
            assert set(page.states[-1]["styles"]) == {"door"}
            assert "hunter2" not in json.dumps(page.states)

        asyncio.run(body())
    finally:
        service.close(5)


@pytest.mark.parametrize(("host", "names", "says"), [
    ("0.0.0.0", [], "--accounts"), ("192.0.2.1", [], "--accounts"), ("127.0.0.1", ["cams.example"], "--accounts"),
])
def test_strangers_need_a_password(host, names, says):
    with pytest.raises(UserError, match=says):
        check_wall(host, names, None, "")
    assert check_wall("127.0.0.1", [], None, "/cams") is None


def test_the_key_of_sessions_outlasts_a_restart_and_is_its_owners(tmp_path):
    key = session_key(tmp_path / "data")
    assert session_key(tmp_path / "data") == key
    assert len(key) >= 32
    assert (tmp_path / "data" / "wall-session.key").stat().st_mode & 0o077 == 0
