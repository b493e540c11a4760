"""The wall in real browsers: Chromium by Playwright, and Firefox (see `firefox_bidi`).

Skips where there is no browser, unless REQUIRE_BROWSER=1.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from firefox_bidi import Firefox

from demo.measure import CHROMIUM, Server, launch
from demo.wall.accounts import write_account
from stream.service.reading import read_cameras

REQUIRED = os.environ.get("REQUIRE_BROWSER") == "1"
if not REQUIRED:
    for package in ("playwright", "argon2", "itsdangerous", "sqlalchemy", "ruamel.yaml", "plotly"):
        pytest.importorskip(package)

if not REQUIRED and not any(os.path.exists(path) for path in CHROMIUM):
    pytest.skip("no Chromium here; REQUIRE_BROWSER=1 makes this a failure", allow_module_level=True)
sync_api = importlib.import_module("playwright.sync_api")
expect = sync_api.expect

FAKE_SERVER = (str(Path(__file__).with_name("wall_fakes.py")),)
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("wall")


@pytest.fixture(scope="module")
def server(folder, monkeypatch_module):
    monkeypatch_module.setenv("SLOWFAST_DATA", str(folder / "data"))
    with Server([str(folder)], FAKE_SERVER) as server:
        yield server


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens pages; checks in the end that nothing went wrong in them and nothing was asked of other hosts."""
    contexts, troubles = [], []

    def open_page(url: str, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        base = url.split("#")[0]
        page.on("pageerror", lambda error: troubles.append(f"script error: {error}"))
        page.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else troubles.append(r.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def tile(page, name):
    return page.locator(f'[data-camera="{name}"]')


def is_painted(page, selector: str) -> None:
    page.wait_for_function("""(selector) => {
      const canvas = document.querySelector(selector);
      if (!canvas || !canvas.width) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((v, i) => i % 4 < 3 && v > 0);
    }""", arg=selector, timeout=30_000)


def test_the_wall_shows_live_tiles_and_says_which_camera_is_offline_and_why(server, open_page):
    page = open_page(server.url)
    for name in ("door", "hall"):
        expect(tile(page, name).locator(".mood")).to_have_text(re.compile("^Live, labels"), timeout=60_000)
        is_painted(page, f'[data-camera="{name}"] canvas')
    veil = tile(page, "yard").locator(".veil")
    expect(veil).to_contain_text("refused", timeout=10_000)
    expect(veil).to_contain_text("Offline for")
    expect(page.locator("#wall-words")).to_have_text("3 cameras, not live: yard.")
    assert "hunter2" not in page.content()
    # One camera large, with its numbers, and back by the keyboard.
    tile(page, "door").locator("a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#camera-title")).to_have_text("door")
    is_painted(page, "#large canvas")
    expect(page.locator("#camera-numbers")).to_contain_text("a second")
    # No tile is sent meanwhile.
    page.wait_for_function("() => Object.keys(window.line.wanted).join() === 'door'")
    page.get_by_role("link", name="All cameras", exact=False).first.click()
    page.wait_for_function("() => Object.keys(window.line.wanted).length === 3")


def test_what_nobody_sees_is_not_sent(server, open_page):
    page = open_page(server.url, viewport={"width": 390, "height": 300})
    page.wait_for_function("() => [1, 2].includes(Object.keys(window.line.wanted).length)")
    tile(page, "yard").scroll_into_view_if_needed()
    page.wait_for_function("() => 'yard' in window.line.wanted && !('door' in window.line.wanted)")


def test_events_come_by_themselves_with_picture_film_reasons_and_marks(server, open_page):
    page = open_page(server.url + "/#events")
    first = page.locator(".event").first
    expect(first).to_contain_text("walks: walk", timeout=60_000)
    before = page.locator(".event").count()
    page.wait_for_function(f"() => document.querySelectorAll('.event').length > {before}", timeout=30_000)
    # One that has ended has a film; those at the end of the list are the oldest.
    done = page.locator(".event").last
    expect(done.get_by_role("button", name="Film and why")).to_be_visible(timeout=60_000)
    done.get_by_role("button", name="Film and why").click()
    expect(done.locator(".more")).to_contain_text("score of walk")
    page.wait_for_function("() => document.querySelector('.event video').readyState >= 1", timeout=20_000)
    wrong = done.get_by_role("button", name="Wrong")
    wrong.click()
    expect(wrong).to_have_attribute("aria-pressed", "true")
    key = done.get_attribute("data-id")
    assert page.request.get(f"{server.url}/api/events/{key}").json()["mark"] == "wrong"
    done.get_by_label("It was").select_option("sit")
    wait_s = time.monotonic() + 10
    while page.request.get(f"{server.url}/api/events/{key}").json()["mark"] != "wrong:sit":
        assert time.monotonic() < wait_s
        time.sleep(0.1)
    # The day: a row for each camera, a span that opens its event.
    plot = page.locator("#plot")
    expect(plot).to_contain_text("walks: walk", timeout=30_000)
    for name in ("door", "hall", "yard"):
        expect(plot).to_contain_text(name)
    page.select_option("#by-camera", "door")
    expect(page.locator(".event").first).to_be_visible()


def test_a_zone_is_drawn_with_the_mouse_saved_and_at_work(server, open_page, folder):
    page = open_page(server.url + "/#setup/hall")
    is_painted(page, "#drawing canvas")
    page.get_by_role("button", name="Draw a zone").click()
    box = page.locator("#shapes").bounding_box()
    for x, y in ((0.05, 0.05), (0.95, 0.05), (0.95, 0.98), (0.05, 0.98)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.get_by_role("button", name="Finish the shape").click()
    page.get_by_label("Name").first.fill("mat")
    page.get_by_label("Name").first.press("Tab")
    # The figure is in it wherever it is.
    expect(page.locator(".inside")).to_have_text("1 inside now", timeout=20_000)
    page.get_by_role("button", name="Save zones").click()
    expect(page.locator("#places-words")).to_contain_text("Saved")
    described = read_cameras(folder / "cameras.yaml", {})
    assert described.rules["hall"].zones["mat"][0] == pytest.approx((0.05, 0.05), abs=0.01)
    text = (folder / "cameras.yaml").read_text()
    assert "# Cameras of a test." in text
    assert "door:   # the front one" in text
    # A rule about it, with what it would have told.
    page.locator("#rule-name").fill("on the mat")
    page.select_option("#rule-kind", "stay")
    page.get_by_role("checkbox", name="mat").check()
    page.locator("#rule-for").fill("0.5")
    expect(page.locator("#rule-preview")).to_contain_text(re.compile(r"Would have told (once|[1-9])"), timeout=20_000)
    page.get_by_role("button", name="Save the rule").click()
    expect(page.locator("#rule-list")).to_contain_text("on the mat")
    wait_s = time.monotonic() + 20
    while not any(e["rule"] == "on the mat" for e in page.request.get(server.url + "/api/events").json()):
        assert time.monotonic() < wait_s, "the service did not take the rule over"
        time.sleep(0.3)
    page.get_by_role("button", name="delete on the mat").click()
    expect(page.locator("#rule-list")).not_to_contain_text("on the mat")


def test_a_line_is_made_and_moved_with_the_keyboard_alone(server, open_page):
    page = open_page(server.url + "/#setup/door")
    is_painted(page, "#drawing canvas")
    page.get_by_role("button", name="Draw a line").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Finish the shape").focus()
    page.keyboard.press("Enter")
    corner = page.get_by_role("button", name="corner 1 of line 1")
    corner.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert corner.evaluate("one => parseFloat(one.style.left)") == pytest.approx(35)
    page.get_by_role("button", name="Save zones").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#places-words")).to_contain_text("Saved")
    page.get_by_role("button", name="delete line 1").click()
    page.get_by_role("button", name="Save zones").click()
    expect(page.locator("#places-words")).to_contain_text("Saved")


@pytest.mark.slow
def test_a_corner_is_moved_with_a_finger(server, open_page):
    page = open_page(server.url + "/#setup/door", **PHONE)
    is_painted(page, "#drawing canvas")
    page.get_by_role("button", name="Draw a zone").tap()
    page.get_by_role("button", name="Finish the shape").tap()
    corner = page.get_by_role("button", name=re.compile("corner 1 of zone"))
    box = corner.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x - 40, y - 20)]), ("touchEnd", [])):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
    moved = corner.bounding_box()
    assert moved["x"] - box["x"] == pytest.approx(-40, abs=3)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, monkeypatch_module):
    folder = tmp_path_factory.mktemp("guarded")
    write_account(folder / "accounts.txt", "ann", "admin", "correct horse")
    write_account(folder / "accounts.txt", "vic", "viewer", "battery staple")
    monkeypatch_module.setenv("SLOWFAST_DATA", str(folder / "data"))
    with Server([str(folder), "--accounts", str(folder / "accounts.txt"), "--root-path", "/cams"], FAKE_SERVER) as made:
        yield made


@pytest.mark.slow
def test_one_logs_in_under_a_proxys_path_and_viewers_cannot_change(guarded, open_page):
    page = open_page(guarded.url)
    expect(page).to_have_url(re.compile("/cams/login$"))
    page.fill("#name", "vic")
    page.fill("#password", "wrong words")
    page.keyboard.press("Enter")
    expect(page.locator("#words")).to_have_text("name or password are wrong")
    page.fill("#password", "battery staple")
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_have_text("vic (viewer)")
    is_painted(page, '[data-camera="door"] canvas')
    page.goto(guarded.url + "#setup/door")
    page.get_by_role("button", name="Save zones").click()
    expect(page.locator("#places-words")).to_contain_text("viewers may change nothing")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/cams/login$"))


def violations(page) -> list[str]:
    axe = importlib.import_module("axe_core_python.sync_playwright").Axe()
    return [f"{v['id']}: {[n['target'] for n in v['nodes']][:3]}" for v in axe.run(page)["violations"]]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desk", "phone"])
@pytest.mark.parametrize("part", ["", "#camera/door", "#events", "#setup/door"])
def test_axe_finds_nothing_and_it_fits(server, open_page, part, size, scheme):
    pytest.importorskip("axe_core_python")
    page = open_page(f"{server.url}/{part}", color_scheme=scheme, **(PHONE if size == "phone" else {}))
    expect(page.locator("#tiles li, #camera-numbers dd, .event, #rule-list li").first).to_be_attached(timeout=30_000)
    page.wait_for_timeout(2500)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_axe_finds_nothing_at_the_login(guarded, open_page):
    pytest.importorskip("axe_core_python")
    page = open_page(guarded.url)
    expect(page.locator("#login")).to_be_visible()
    assert violations(page) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("firefox-esr") is None and not REQUIRED, reason="no Firefox here")
def test_firefox_shows_the_wall_the_events_and_the_zones(server):
    with Firefox(shutil.which("firefox-esr")) as firefox:
        firefox.go(server.url)
        firefox.until("window.line && window.line.pictures > 5")
        yard = "document.querySelector('[data-camera=yard] .veil').textContent"
        assert "refused" in firefox.until(f"{yard}.startsWith('Offline') && {yard}")
        assert firefox.value("document.documentElement.scrollWidth <= innerWidth")
        firefox.go(server.url + "/#events")
        firefox.until("document.querySelector('.event h3') && document.querySelector('.event h3').textContent")
        firefox.until("document.getElementById('plot').textContent.includes('walks: walk')")
        firefox.go(server.url + "/#setup/door")
        firefox.until("document.querySelectorAll('#rule-list li').length")
        firefox.value("document.querySelector('[data-draw=zones]').click()")
        firefox.value("document.getElementById('finish').click()")
        assert firefox.value("document.querySelectorAll('.corner').length") == 4


@pytest.mark.slow
def test_the_first_view_is_quick(server, open_page):
    page = open_page(server.url)
    page.locator(".tile").first.wait_for()
    timing = page.evaluate("""() => {
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      return {paint: paint.startTime, loaded: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd};
    }""")
    print(json.dumps(timing))
    assert timing["paint"] > 0
