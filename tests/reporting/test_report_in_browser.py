"""In a browser, the report filters by view, mouse and keyboard, and makes no request."""

import shutil
from dataclasses import replace

import pytest
from made_run import make_clips, make_run, render

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
HOSTILE = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    clips = [replace(clip, transcript=f"{HOSTILE} {clip.transcript}") for clip in make_clips(60)]
    render(make_run(folder, clips))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.messages, page.requested = [], []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto((folder / "report.html").as_uri())
        yield page
        browser.close()


def test_every_clip_is_listed_as_text_without_error_or_request(opened):
    assert opened.locator("#count").inner_text() == "60 of 60 clips."
    opened.locator("#more").click()
    assert opened.locator("#clips > li").count() == 60
    assert HOSTILE in opened.locator("#clips .words").first.inner_text()
    assert opened.title() != "run" and opened.messages == []
    assert [url for url in opened.requested if not url.startswith("data:")] == [opened.url]


def test_nothing_is_wider_than_a_telephone(opened):
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_keys_choose_a_view_move_and_open_a_clip(opened):
    opened.locator("body").press("2")
    wrong = opened.locator("#clips > li")
    assert wrong.count() == opened.locator("#clips > li.wrong").count() == 3
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    opened.keyboard.press("Enter")
    assert wrong.nth(1).locator(".details table tr").count() == 3
    opened.keyboard.press("/")
    opened.keyboard.type("nothing like it")
    assert opened.locator("#count").inner_text() == "0 of 60 clips."
    opened.locator("#search").fill("")


def test_filters_combine(opened):
    opened.locator("[data-view=relabelled]").click()
    opened.locator("#class").select_option("angry")
    texts = opened.locator("#clips .labels").all_inner_texts()
    assert texts and all("given angry" in text and "learned as" in text for text in texts)
    assert opened.messages == []
