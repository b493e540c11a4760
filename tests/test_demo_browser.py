"""The demo in a real browser: headless Chromium with a fake camera, driven by Playwright.

Skips where there is no Chromium, unless REQUIRE_BROWSER=1.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from demo_fakes import picture, write_video, write_y4m
from stream_rtsp import RtspCamera

from demo.measure import CHROMIUM, Server, launch

REQUIRED = os.environ.get("REQUIRE_BROWSER") == "1"
if not REQUIRED:
    pytest.importorskip("playwright")
    pytest.importorskip("gradio")
    if not any(os.path.exists(path) for path in CHROMIUM):
        pytest.skip("no Chromium here; REQUIRE_BROWSER=1 makes this a failure", allow_module_level=True)
sync_api = importlib.import_module("playwright.sync_api")
expect = sync_api.expect

FAKE_SERVER = (str(Path(__file__).with_name("demo_fakes.py")),)
# Left half: walking; right half: sitting (see the fake engine).
WALK_THEN_SIT = [0.3] * 45 + [0.7] * 45
MEDIA = Path(__file__).resolve().parent.parent.parent / "shared" / "media"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def playwright():
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(folder, playwright):
    """A Chromium whose camera shows a figure that stays in the right half, mirrored by the page into the left."""
    camera = write_y4m(folder / "camera.y4m", [0.7 + 0.02 * np.sin(i / 5) for i in range(63)])
    browser = launch(playwright, camera)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def server():
    with Server(["--visitors", "2"], FAKE_SERVER) as server:
        yield server


@pytest.fixture
def open_page(browser):
    """Opens pages, each in a browser profile of its own; checks in the end that nothing went wrong in them."""
    contexts, troubles = [], []

    def open_page(url: str, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(f"script error: {error}"))
        page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else troubles.append(r.url))
        page.goto(url)
        expect(page.locator("#live-start")).to_be_visible(timeout=30_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def health(server) -> dict[str, int]:
    with urllib.request.urlopen(server.url + "/healthz", timeout=10) as answer:
        return json.load(answer)


def wait_until(condition, seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.1)


def colourful_pixels(page) -> int:
    """Pixels of the returned picture that are neither grey nor red, as only drawn boxes are."""
    return page.evaluate("""() => {
      const canvas = document.getElementById("live-view");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let count = 0;
      for (let i = 0; i < data.length; i += 4)
        if (Math.max(data[i + 1], data[i + 2]) - data[i] > 40) count++;
      return count;
    }""")


def open_settings(page) -> None:
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#person")).to_be_visible()


def set_number(page, control: str, value: float) -> None:
    box = page.locator(f"#{control} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def start(page) -> None:
    page.click("#live-start")
    page.wait_for_function("window.demo.pictures > 3", timeout=30_000)


def test_boxes_and_labels_come_back_and_follow_the_thresholds(server, open_page):
    page = open_page(server.url)
    open_settings(page)
    start(page)
    people = page.locator("#live-people")
    # The page mirrors: the figure on the right of the camera's picture walks in the left half.
    expect(people).to_contain_text(re.compile(r"Person \d+ walk 0\.9\d$"), timeout=30_000)
    wait_until(lambda: colourful_pixels(page) > 100)
    expect(page.locator("#live-words")).to_contain_text(re.compile(r"^Live, labels \d\.\d s late"))
    expect(page.locator("#live-status")).to_be_hidden()
    page.get_by_text("Details").first.click()
    expect(page.locator("#live-status")).to_contain_text("fake fp32")
    expect(page.locator("#live-status")).to_contain_text("behind")
    page.locator("#live-mirror").uncheck()
    expect(people).to_contain_text("sit 0.8", timeout=20_000)
    expect(page.locator("#action")).to_be_hidden()
    page.locator("#recommended input").uncheck()
    set_number(page, "action", 0.99)
    expect(people).to_contain_text("nothing over the threshold")
    set_number(page, "action", 0.3)
    expect(people).to_contain_text("sit 0.8")
    set_number(page, "person", 0.95)
    expect(people).to_be_empty()
    wait_until(lambda: colourful_pixels(page) == 0)
    page.click("#live-stop")
    expect(page.locator("#live-note")).to_have_text("Stopped.")
    wait_until(lambda: health(server)["watching"] == 0)
    # A status that was on its way does not fill the page again.
    page.wait_for_timeout(700)
    for part in ("words", "people", "status"):
        expect(page.locator(f"#live-{part}")).to_be_empty()
    expect(page.locator("#live-view")).to_be_hidden()


def test_the_first_screen_is_a_labelled_clip_that_plays_and_goes_when_the_camera_starts(server, open_page):
    page = open_page(server.url)
    expect(page.locator("#clip")).to_be_visible()
    page.wait_for_function("document.getElementById('clip').currentTime > 0.5", timeout=20_000)
    assert page.evaluate("document.getElementById('clip').loop")
    drawn = """() => {
      const canvas = document.getElementById("clip-view");
      return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v > 0);
    }"""
    page.wait_for_function(drawn)
    expect(page.locator("#live-words")).to_contain_text("An example")
    # Nothing is shown that does nothing.
    for hidden in ("#live-turn", "#live-mirror-label", "#live-stop", "#action", "#person"):
        expect(page.locator(hidden)).to_be_hidden()
    start(page)
    expect(page.locator("#clip")).to_be_hidden()
    assert page.evaluate("document.getElementById('clip').paused")
    expect(page.locator("#live-mirror-label")).to_be_visible()


def test_the_cameras_own_picture_is_there_before_the_server_has_answered(server, open_page):
    page = open_page(server.url)
    page.evaluate("window.demo.onPicture = () => { window.own = window.own ?? window.demo.ownPictures; }")
    start(page)
    assert page.evaluate("window.own") > 0


def test_the_bundled_clip_can_be_watched_live(server, open_page):
    page = open_page(server.url)
    page.get_by_role("button", name="Try the bundled clip").first.click()
    page.wait_for_function("window.demo.pictures > 3", timeout=30_000)
    expect(page.locator("#live-mirror-label")).to_be_hidden()
    page.click("#live-stop")
    wait_until(lambda: health(server)["watching"] == 0)


@pytest.mark.slow
def test_a_page_that_is_loaded_again_finds_its_video(server, open_page, folder):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    page.set_input_files("#video-file", write_video(folder / "again.mp4", WALK_THEN_SIT * 3))
    expect(page.locator("#video-progress")).to_contain_text(re.compile("Reading|Analysing"), timeout=20_000)
    page.reload()
    expect(page.locator("#video-result video")).to_be_visible(timeout=60_000)
    # The settings are changed: the film can be made again.
    again = page.locator("#video-again")
    open_settings(page)
    page.locator("#recommended input").uncheck()
    set_number(page, "action", 0.9)
    expect(again).to_be_visible()
    before = page.locator("#video-result video").get_attribute("src")
    again.click()
    page.wait_for_function(
        f"document.querySelector('#video-result video').getAttribute('src') !== {json.dumps(before)}", timeout=60_000
    )
    expect(again).to_be_hidden()


@pytest.mark.slow
def test_letters_in_the_picture_are_twelve_pixels_or_more_on_a_phone(server, open_page):
    page = open_page(server.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.evaluate("""() => {
      const write = CanvasRenderingContext2D.prototype.fillText;
      window.letters = [];
      CanvasRenderingContext2D.prototype.fillText = function (...all) {
        const canvas = this.canvas.getBoundingClientRect(), scale = this.getTransform().a;
        window.letters.push(parseFloat(this.font.match(/([0-9.]+)px/)[1]) * scale * canvas.width / this.canvas.width);
        return write.apply(this, all);
      };
    }""")
    start(page)
    page.wait_for_function("window.letters.length > 0", timeout=30_000)
    assert page.evaluate("Math.min(...window.letters)") >= 12


def test_synced_display_can_be_chosen_while_watching(server, open_page):
    page = open_page(server.url)
    start(page)
    open_settings(page)
    page.get_by_text("In step: picture waits for its labels").click()
    page.wait_for_function("window.demo.status && window.demo.status.display === 'synced'", timeout=20_000)
    shown = page.evaluate("window.demo.pictures")
    page.wait_for_function(f"window.demo.pictures > {shown} + 5", timeout=20_000)


@pytest.mark.slow
@pytest.mark.ci
def test_visitors_are_apart_limited_and_leave_nothing(server, open_page):
    pages = [open_page(server.url) for _ in range(3)]
    start(pages[0])
    start(pages[1])
    pages[2].click("#live-start")
    expect(pages[2].locator("#live-note")).to_contain_text("please try again", timeout=20_000)
    expect(pages[2].locator("#live-start")).to_be_visible()
    # One visitor's threshold is not the other's.
    open_settings(pages[0])
    set_number(pages[0], "person", 0.95)
    expect(pages[0].locator("#live-people")).to_be_empty()
    expect(pages[1].locator("#live-people")).to_contain_text("Person", timeout=20_000)
    pages[0].close()
    wait_until(lambda: health(server)["watching"] == 1)
    start(pages[2])
    for page in pages[1:]:
        page.close()
    wait_until(lambda: health(server)["watching"] == 0 and health(server)["pages"] == 0)


def test_a_video_gets_a_timeline_a_table_and_downloads(server, open_page, folder, browser):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    clip = write_video(folder / "my walk.mp4", WALK_THEN_SIT)
    page.set_input_files("#video-file", clip)
    video = page.locator("#video-result video")
    expect(video).to_be_visible(timeout=60_000)
    page.wait_for_function("document.querySelector('#video-result video').readyState >= 2", timeout=20_000)
    assert page.evaluate("document.querySelector('#video-result video').duration") == pytest.approx(6, abs=0.2)
    plot = page.locator("#video-timeline .js-plotly-plot")
    expect(plot).to_be_visible(timeout=20_000)
    expect(plot).to_contain_text("Person 1")
    table = page.locator("#video-table")
    for word in ("walk", "sit", "0:02.5"):
        expect(table).to_contain_text(word)
    # A click on a span takes the video there.
    # Traces are in order of the time that they take: sit, walk; sitting begins at 2.5 s.
    page.wait_for_timeout(700)
    span = page.locator("#video-timeline .trace.bars").nth(0).locator(".point path")
    span.scroll_into_view_if_needed()
    box = span.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "Math.abs(document.querySelector('#video-result video').currentTime - 2.5) < 0.1", timeout=5_000
    )
    page.wait_for_function("document.querySelector('#video-result video').getBoundingClientRect().bottom > 100")
    with page.expect_download() as download:
        page.get_by_text("Download answers (JSON lines)").click()
    assert download.value.suggested_filename == "my walk_actions.jsonl"
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [line["people"][0]["actions"][0]["name"] for line in lines[1:]] == ["walk"] * 2 + ["sit"] * 3
    with page.expect_download() as download:
        page.get_by_text("Download scores (AVA CSV)").click()
    assert download.value.path().read_text().startswith("my walk,0000,")
    with page.expect_download() as download:
        page.get_by_text("Download table (CSV)").click()
    assert download.value.suggested_filename == "my walk_table.csv"
    assert "\n2,sit,2.5" in download.value.path().read_text()
    address = server.url + "/" + video.get_attribute("src")
    assert page.request.get(address).status == 200
    stranger = browser.new_context()
    assert stranger.request.get(address).status == 404
    stranger.close()
    # The timeline follows the controls without another run.
    open_settings(page)
    page.locator("#recommended input").uncheck()
    set_number(page, "action", 0.9)
    expect(table).not_to_contain_text("sit", timeout=10_000)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"hello " * 500, "not a video"),
        ("huge.mp4", b"\x00\x00\x00\x20ftypisom" + bytes(5_100_000), "at most 5 MB"),
    ],
)
def test_what_is_not_welcome_is_told_in_the_page(server, open_page, folder, name, content, says):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    (folder / name).write_bytes(content)
    page.set_input_files("#video-file", folder / name)
    expect(page.locator("#video-upload")).to_contain_text(says, timeout=20_000)


@pytest.mark.slow
def test_the_bundled_clip_is_analysed_on_a_click(server, open_page):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    page.get_by_role("button", name="Try the bundled clip").last.click()
    expect(page.locator("#video-result video")).to_be_visible(timeout=120_000)


@pytest.mark.slow
def test_a_long_video_can_be_cancelled(server, open_page, folder):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    page.set_input_files("#video-file", write_video(folder / "long.mp4", [0.3] * 880, size_hw=(360, 480)))
    expect(page.locator("#video-progress progress")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#video-progress")).to_contain_text("Cancelled", timeout=20_000)
    expect(page.locator("#video-result video")).to_have_count(0)


@pytest.mark.slow
def test_the_page_goes_on_when_the_server_is_killed_and_comes_back(open_page):
    with Server([], FAKE_SERVER) as first:
        port = int(first.url.rsplit(":", 1)[1])
        page = open_page(first.url)
        start(page)
        first.process.kill()
        expect(page.locator("#live-note")).to_contain_text("connection to the server was lost", timeout=20_000)
    with Server([], FAKE_SERVER, port):
        shown = page.evaluate("window.demo.pictures")
        page.wait_for_function(f"window.demo.pictures > {shown} + 5", timeout=30_000)
        expect(page.locator("#live-people")).to_contain_text("walk", timeout=20_000)


def test_camera_addresses_are_offered_only_where_allowed(server, open_page):
    assert open_page(server.url).get_by_role("tab", name="Camera address").count() == 0


@pytest.mark.slow
def test_a_camera_address_is_shown_without_its_password(open_page):
    with Server(["--allow-urls"], FAKE_SERVER) as allowing:
        page = open_page(allowing.url)
        page.get_by_role("tab", name="Camera address").click()
        page.fill("#net-url", "rtsp://me:secret@127.0.0.1:9/door")
        page.click("#net-start")
        note = page.locator("#net-note")
        expect(note).to_contain_text("cannot be opened", timeout=30_000)
        expect(note).not_to_contain_text("secret")
        assert "secret" not in allowing.said()
        assert health(allowing)["watching"] == 0


@pytest.mark.slow
def test_a_camera_is_watched_by_its_address(open_page):
    camera = RtspCamera(pictures=2000, draw=lambda i: picture(0.3 if i < 150 else 0.7))
    with camera, Server(["--allow-urls"], FAKE_SERVER) as allowing:
        page = open_page(allowing.url)
        page.get_by_role("tab", name="Camera address").click()
        page.fill("#net-url", camera.url)
        page.click("#net-start")
        people = page.locator("#net-people")
        expect(people).to_contain_text("walk 0.9", timeout=30_000)
        expect(people).to_contain_text("sit 0.8", timeout=30_000)
        assert "secret" not in page.locator("body").inner_text() + allowing.said()
        page.click("#net-stop")
        wait_until(lambda: health(allowing)["watching"] == 0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
def test_the_camera_works_over_https(open_page, folder):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-keyout", key, "-out", cert], check=True, capture_output=True,
    )
    with Server(["--tls", str(cert), str(key)], FAKE_SERVER) as server:
        assert server.url.startswith("https://")
        page = open_page(server.url, ignore_https_errors=True)
        start(page)
        expect(page.locator("#live-people")).to_contain_text("walk 0.9", timeout=30_000)


@pytest.mark.slow
def test_the_page_fits_a_phone(server, open_page, folder):
    page = open_page(server.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    start(page)
    for tab in ("Live", "Video"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in page.locator(".push:visible").all():
        assert button.bounding_box()["height"] >= 44


@pytest.mark.slow
@pytest.mark.skipif(not (MEDIA / "juggle.mp4").exists(), reason="no real video here")
def test_a_real_person_is_found_in_a_real_video(folder, playwright):
    from demo.measure import write_camera

    camera = write_camera(folder / "real.y4m", str(MEDIA / "juggle.mp4"), seconds=8)
    with Server(["--untrained"]) as server:
        browser = launch(playwright, camera)
        page = browser.new_page()
        page.goto(server.url)
        start(page)
        expect(page.locator("#live-people")).to_contain_text("Person", timeout=120_000)
        browser.close()


def violations(page) -> list[str]:
    axe = importlib.import_module("axe_core_python.sync_playwright").Axe()
    return [f"{v['id']}: {[n['target'] for n in v['nodes']][:4]}" for v in axe.run(page)["violations"]]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(server, open_page, folder, scheme):
    pytest.importorskip("axe_core_python")
    page = open_page(server.url, color_scheme=scheme)
    open_settings(page)
    assert violations(page) == []
    start(page)
    expect(page.locator("#live-people")).to_contain_text("walk", timeout=30_000)
    assert violations(page) == []
    page.click("#live-stop")
    page.get_by_role("tab", name="Video").click()
    assert violations(page) == []
    page.set_input_files("#video-file", write_video(folder / "axe.mp4", WALK_THEN_SIT))
    expect(page.locator("#video-result video")).to_be_visible(timeout=60_000)
    # Gradio's table is another one while it is empty.
    expect(page.locator("#video-table")).to_contain_text("walk", timeout=20_000)
    page.wait_for_timeout(2000)
    assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_chooser_opens_by_the_keyboard_and_is_one_stop(server, open_page, key):
    page = open_page(server.url)
    page.get_by_role("tab", name="Video").click()
    # Listened for from here on: Chromium is told to hand choosers over, which takes a moment.
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    drop = page.locator("#video-drop")
    drop.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Try the bundled clip"
    drop.focus()
    page.keyboard.press(key)
    for _ in range(200):
        if choosers:
            break
        page.wait_for_timeout(100)
    assert len(choosers) == 1
