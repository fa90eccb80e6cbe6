"""The page in a real browser: what it plays, asks for and complains about."""

import dataclasses
import math

import pytest

from redub.pages.report import render_report
from tests.pages.browser import Browser, chromium
from tests.pages.sample import sample_report
from tests.pages.test_report import HOSTILE, replaced

pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium on PATH")

ALL_METADATA = """
Promise.all([...document.querySelectorAll("audio, video")].map((media) => new Promise((done) => {
  media.onloadedmetadata = () => done([media.tagName, media.duration, media.videoWidth || 0]);
  media.onerror = () => done([media.tagName, -1, 0]);
  media.preload = "metadata";
  media.load();
})))
"""


@pytest.fixture(scope="module")
def data():
    return sample_report(3)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def opened(browser, tmp_path):
    def show(data, *, size_limit_mib=40.0, **view):
        path = tmp_path / "report.html"
        path.write_text(render_report(data, size_limit_mib=size_limit_mib), encoding="utf-8")
        browser.events.clear()
        browser.open(path, **view)
        return browser

    return show


def lengths(data):
    return sorted(len(t.sound.waveform.samples) / 16_000 for line in data.lines for t in line.takes)


@pytest.mark.parametrize("size_limit_mib", [40.0, 0.0], ids=["flac", "aac"])
def test_every_sound_and_film_can_be_played(opened, data, size_limit_mib):
    browser = opened(data, size_limit_mib=size_limit_mib)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    found = browser.run(ALL_METADATA)
    sounds = [seconds for tag, seconds, _ in found if tag == "AUDIO"]
    hits = sum(len(c.neighbours) for line in data.lines for c in line.casting)
    assert len(sounds) == hits + len(lengths(data))
    assert min(sounds) > 0
    for seconds in lengths(data):  # every take is there with its own length
        assert min(abs(seconds - s) for s in sounds) < 0.15
    assert all(width > 0 for tag, _, width in found if tag == "VIDEO")
    assert browser.complaints() == []


def test_nothing_but_the_file_itself_is_asked_for(opened, data):
    browser = opened(data)
    browser.run(ALL_METADATA)
    assert {url.split("/")[-1] for url in browser.requests()} == {"report.html"}


def test_hostile_names_are_inert(opened, data):
    browser = opened(
        replaced(dataclasses.replace(data, lines=data.lines[:1]), lambda t: t and HOSTILE)
    )
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("document.title").startswith("<img src=x onerror=hacked=1>")
    assert browser.complaints() == []


def test_even_slipped_in_markup_could_not_run(opened, data):
    browser = opened(data)
    browser.run(
        'const markup = \'<img src="data:," onerror="hacked=1">\';'
        "document.body.insertAdjacentHTML('beforeend', markup);"
        "const s = document.createElement('script'); s.textContent = 'hacked=1';"
        "document.body.append(s); new Promise((done) => setTimeout(done, 50))"
    )
    assert browser.run("typeof hacked") == "undefined"
    assert any("Content Security Policy" in text for text in browser.complaints())


@pytest.mark.parametrize(("width", "phone"), [(1400, False), (390, True)])
def test_nothing_sticks_out_of_the_window(opened, data, width, phone):
    browser = opened(data, width=width, height=900, phone=phone)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground_in_both_themes(opened, data, dark):
    browser = opened(data, dark=dark)
    ink, paper = (
        [int(v) for v in browser.run(f"getComputedStyle(document.body).{p}")[4:-1].split(",")]
        for p in ("color", "backgroundColor")
    )

    def luminance(rgb):  # WCAG 2.2, relative luminance
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, shade = sorted((luminance(ink), luminance(paper)), reverse=True)
    assert (light + 0.05) / (shade + 0.05) > 12
    assert (luminance(paper) < 0.1) is dark


def press(browser, key):
    browser.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
    browser.ask("Input.dispatchKeyEvent", type="keyUp", key=key)


def test_keys_switch_systems_at_the_same_moment_and_the_picture_follows(opened, data):
    browser = opened(data)
    takes = "document.querySelectorAll('#line-1 .take audio')"
    press(browser, "1")
    browser.wait(f"!{takes}[0].paused && {takes}[0].currentTime > 0.3")
    browser.wait("!document.querySelector('#line-1 .screen video').paused")
    assert browser.run("document.querySelector('#line-1 .screen video').muted")
    press(browser, "3")
    browser.wait(f"!{takes}[2].paused && {takes}[0].paused")
    moments = browser.run(f"[{takes}[0].currentTime, {takes}[2].currentTime]")
    assert moments[1] >= moments[0] - 0.2  # not from the start
    assert moments[0] > 0.3
    browser.run("new Promise((done) => setTimeout(done, 150))")  # late events have arrived
    assert not browser.run("document.querySelector('#line-1 .screen video').paused")
    assert (
        browser.run("[...document.querySelectorAll('audio')].filter((a) => !a.paused).length") == 1
    )


def test_pressing_a_spectrogram_jumps_to_that_moment(opened, data):
    browser = opened(data)
    browser.run("document.querySelector('#line-1 .mel').scrollIntoView({behavior: 'instant'})")
    x, y, width = browser.run(
        "(() => { const b = document.querySelectorAll('#line-1 .mel')[1].getBoundingClientRect();"
        " return [b.left, b.top + b.height / 2, b.width] })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + 0.6 * width,
            y=y,
            button="left",
            clickCount=1,
        )
    audio = "document.querySelectorAll('#line-1 .take audio')[1]"
    browser.wait(f"{audio}.currentTime > 0 && {audio}.readyState > 0")
    span = len(data.lines[0].takes[1].mel) * data.hop_s
    assert browser.run(f"{audio}.currentTime") >= 0.6 * span - 0.02


def test_the_filter_keeps_what_fits_and_counts_it(opened, data):
    browser = opened(data)

    def choose(identity, value):
        browser.run(
            f"(() => {{ const e = document.getElementById('{identity}');"
            f" e.value = {value!r};"
            " e.dispatchEvent(new Event('input')) })()"
        )
        shown = browser.run(
            "[...document.querySelectorAll('.line')].filter((l) => !l.hidden)"
            ".map((l) => l.querySelector('summary .id').textContent)"
        )
        said = browser.run("document.getElementById('shown').textContent")
        assert said == f"{len(shown)} line{'' if len(shown) == 1 else 's'} of {len(data.lines)}"
        return shown

    ids = [line.clip_id for line in data.lines]
    assert choose("by-speaker", data.lines[1].speaker) == [ids[1]]
    assert choose("by-speaker", "") == ids
    assert choose("find", "HAMMER") == [
        line.clip_id for line in data.lines if "hammer" in line.text
    ]
    assert choose("find", "no such words") == []
    choose("find", "")
    wanted = data.lines[2].emotion
    assert choose("by-emotion", wanted) == [
        line.clip_id for line in data.lines if line.emotion == wanted
    ]


def test_the_address_of_a_line_opens_it(opened, data):
    browser = opened(data)
    assert not browser.run("document.getElementById('line-3').open")
    browser.run("location.hash = '#line-3'")
    browser.wait("document.getElementById('line-3').open")


def test_a_screenshot_is_not_blank(opened, data, tmp_path):
    import cv2

    browser = opened(data)
    browser.screenshot(tmp_path / "shot.png")
    image = cv2.imread(str(tmp_path / "shot.png"))
    assert image.shape[1] == 1400
    assert image.std() > 10
    assert math.isfinite(image.mean())
