"""In a browser, the report filters by view, mouse and keyboard, and makes no request."""

import hashlib
import re
import shutil
import wave
from dataclasses import replace

import pytest
from made_run import make_clips, make_run, render

from ecmf.refinement.label_sources import table_votes
from ecmf.storage.files import verify_sha256

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
HOSTILE = "<img src=x onerror=\"document.title='run'\">"
FORMULA = '=HYPERLINK(1), "x"'
"""Beginning of an id that a spreadsheet would run, with all that csv quotes."""
CLASSES = ("angry", "happy", "sad")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    clips = [
        replace(
            clip,
            transcript=f"{HOSTILE} {clip.transcript}",
            clip_id=f"{FORMULA if number == 3 else ''}{clip.clip_id}",
        )
        for number, clip in enumerate(make_clips(60))
    ]
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


def test_decisions_on_labels_are_a_file_that_the_refinement_trusts(opened, tmp_path):
    opened.locator("[data-view=doubt]").click()
    opened.locator("#class").select_option("")
    doubtful = opened.locator("#clips > li")
    wanted = {}
    for number, label in enumerate(("sad", "angry", "happy")):
        doubtful.nth(number).locator("button.clip").click()
        doubtful.nth(number).locator(".decision select").select_option(label)
        wanted[doubtful.nth(number).locator("b").first.inner_text()] = label
    doubtful.nth(2).locator(".decision select").select_option("")  # taken back
    wanted.popitem()
    opened.locator("#search").fill("hyperlink")
    doubtful.first.locator("button.clip").click()
    doubtful.first.locator(".decision select").select_option("sad")
    wanted[doubtful.first.locator("b").first.inner_text()] = "sad"
    assert opened.locator("#decided").inner_text() == f"{len(wanted)} decisions on labels."
    with opened.expect_download() as download:
        opened.locator("#save").click()
    path = tmp_path / "decisions.csv"
    download.value.save_as(path)
    opened.locator("#search").fill("")
    command = opened.locator("#after code").inner_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in command
    (sha256,) = re.findall(r"sha256: (\w+)", command)
    votes = table_votes(verify_sha256(str(path), sha256, ""), {}, list(wanted), CLASSES)
    assert [CLASSES[index] for index in votes.top_class] == list(wanted.values())
    assert any(name.startswith(FORMULA) for name in wanted)
    assert not re.search(r"(?m)^[=+@-]|,[=+@-]|\"[=+@-]", path.read_text())
    assert opened.messages == []


def test_all_votes_on_a_clip_stand_beside_each_other(opened):
    opened.locator("[data-view=doubt]").click()
    entry = opened.locator("#clips > li").first
    if not entry.locator(".details").count():
        entry.locator("button.clip").click()
    rows = entry.locator("table.votes tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["label source", "given", "fusion"]
    assert sorted(map(float, rows[2].split("\t")[1:])) == [0, 0.3, 0.7]


FOCUSED = """(({id, dataset, className, hash}) => id || dataset.view || className || hash)(
  document.activeElement)"""


def test_everything_is_reached_by_the_keyboard(opened):
    opened.locator(".skip").focus()
    reached = set()
    for _ in range(40):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate(FOCUSED))
    wanted = {"#classes", "#browse", "all", "missing", "search", "pictured", "clip"}
    assert wanted <= reached
    outlined = "getComputedStyle(document.activeElement).outlineStyle"
    assert opened.evaluate(outlined) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_at_least_4_5(scheme, opened):
    opened.emulate_media(color_scheme=scheme)
    colours = opened.evaluate(TEXT_COLOURS)
    assert len(colours) > 8
    for front, *behind in colours:
        assert contrast(front, behind) >= 4.5, (front, behind)


TEXT_COLOURS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const found = new Map();
  for (const element of document.querySelectorAll("body *:not(script):not(style)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const layers = [element.tagName === "text" ? style.fill : style.color];
    for (let each = element; each; each = each.parentElement) {
      const ground = getComputedStyle(each).backgroundColor;
      if (rgba(ground)[3]) layers.push(ground);
    }
    found.set(layers.join("|"), layers.map(rgba));
  }
  return [...found.values()];
}"""
"""Colours of all visible texts, each with those behind it up to the page's, as RGBA of 0 to 1."""


def contrast(front, behind):
    """Compute the contrast of a colour on layers, the nearest first (WCAG 2.2)."""
    ground = [1.0, 1.0, 1.0]
    for *colour, alpha in reversed(behind):
        ground = [alpha * c + (1 - alpha) * g for c, g in zip(colour, ground, strict=True)]
    levels = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        for colour in (front[:3], ground)
    ]
    lights = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in levels]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_a_clip_plays_by_a_relative_link_where_its_file_lies_beside_the_page(opened, tmp_path):
    clips = [
        replace(clip, audio=str(tmp_path / "media" / f"{number} #1.wav"))
        for number, clip in enumerate(make_clips(30))
    ]
    (tmp_path / "media").mkdir()
    with wave.open(clips[0].audio, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    html = render(make_run(tmp_path, clips), link_clips=True)
    assert '"audio":"media/0%20%231.wav"' in html and str(tmp_path) not in html
    page = opened.context.browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("#search").fill(clips[0].clip_id)
    page.locator("button.clip").click()
    page.wait_for_function("document.querySelector('audio').duration === 1")
    page.locator("#search").fill(clips[1].clip_id)
    page.locator("button.clip").click()
    page.get_by_text("cannot play media/1%20%231.wav").wait_for()
    page.close()
