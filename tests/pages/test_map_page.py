"""The emotion map as a page: what it draws, says and plays, and that it loads nothing."""

import base64
import dataclasses
import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest

from redub.core.types import EMOTIONS, Waveform
from redub.pages.emotion_map import (
    COLOURINGS,
    OTHER,
    SHAPES,
    UNNAMED,
    EmotionMap,
    Hole,
    HoleList,
    MapPoint,
    called,
    clock_text,
    drawing,
    legend,
    render_map,
    small_poster,
    small_sound,
)
from tests.features.drawn_faces import draw_face
from tests.pages.browser import Browser, chromium
from tests.pages.test_report import HOSTILE, Tree, replaced

needs_browser = pytest.mark.skipif(chromium() is None, reason="no chromium on PATH")
SIDE, RATE = 5, 16_000
FEELINGS = ("angry", "fear", "happy", "neutral", "sad")
EMBEDDED = (0, 1, 2, 5, 6, 7, 12)


def tone(seconds, seed):
    t = np.arange(round(seconds * RATE)) / RATE
    return Waveform((0.2 * np.sin(2 * np.pi * (200 + 40 * seed) * t)).astype(np.float32), RATE)


def point(number, **more):
    """A place on a grid of five by five, numbered by rows from the top left; the middle is 12."""
    row, column = divmod(number, SIDE)
    given = {
        "text": f"Line number {number}.",
        "speaker": ("Ann", "Bea", "Cy")[number % 3],
        "emotion": FEELINGS[column],
        "film": ("alpha", "beta")[number % 2],
        "scene": f"scene {row}",
        "source": f"alpha/scene_{row}.mp4",
        "start_s": 2.0 * number,
        "end_s": 2.0 * number + 1.5,
        "neighbours": tuple(((number + k) % 25, 1 - k / 10) for k in (1, 2, 3)),
    }
    media = {}
    if number in EMBEDDED:
        media["poster"] = small_poster(draw_face(opening=number / 30))
        media["sound"] = small_sound(tone(0.4, number))
    x, y = column / 2 - 1, 0.9 - 0.45 * row
    return MapPoint(clip_id=f"clip-{number:02d}", x=x, y=y, **{**given, **media, **more})


def example():
    return EmotionMap(
        title="small: emotion map",
        project="small",
        build="b1234",
        vectors="audio_emotion",
        similarity="cosine of audio_emotion",
        points=tuple(point(number) for number in range(25)),
        drawn_by=("Drawn by exact t-SNE.", "Trustworthiness at K = 10: 0.934."),
        notes=("Sound and images of 7 of 25 clips are in this page.",),
        holes=(
            HoleList(
                title="Emotions by speaker",
                note="Fewer than K = 3 clips.",
                holes=(Hole(said="No clip of Bea is labelled fear; 4.2 would be expected."),),
                more=17,
            ),
            HoleList(
                title="Lines that stand alone in face",
                holes=(Hole(said="“Oh!” stands alone", clips=("clip-07", "held-out-3")),),
            ),
        ),
    )


@pytest.fixture(scope="module")
def page():
    return render_map(example())


@pytest.fixture(scope="module")
def tree(page):
    return Tree(page)


def dots_of(tree):
    return [a for a in tree.all("g") if "dot" in a.get("class", "").split()]


def test_the_page_is_well_formed_and_its_ids_are_unique(page, tree):
    assert page.startswith("<!doctype html>")
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for tag in ("a", "use") for a in tree.all(tag))


def test_the_page_names_no_address_outside_itself(page, tree):
    for tag, attributes in tree.elements:
        for name in ("src", "href", "poster", "srcset", "action", "data", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name])
        assert not [name for name in attributes if name.startswith("on")]
    without_data = re.sub(r"data:[a-z0-9/+.-]+;base64,[A-Za-z0-9+/=]*", "", page)
    assert "//" not in re.sub(r"^\s*//.*$", "", without_data, flags=re.M)
    assert not re.search(
        r"url\s*\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", without_data
    )


def test_only_the_pages_own_script_may_run(page, tree):
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_everything_of_the_map_is_said(tree):
    said = tree.said
    for words in (*example().drawn_by, *example().notes, "index build b1234", "and 17 more"):
        assert words in said
    for held in example().holes:
        for words in (held.title, *(hole.said for hole in held.holes)):
            assert words in said
    for number in range(25):
        assert called(point(number)) in said


def test_a_hole_leads_to_its_clip_where_that_is_a_point(tree):
    links = [a["href"] for a in tree.all("a") if a.get("class") == "id go"]
    assert links == ["#dot-7"]
    assert "held-out-3" in tree.said


def test_points_stand_where_they_were_laid_out_with_y_upwards(tree):
    places = [tuple(map(float, re.findall(r"[-\d.]+", a["transform"]))) for a in dots_of(tree)]
    height, wanted = drawing(example().points)
    np.testing.assert_allclose(places, wanted, atol=0.0051)
    xs, ys = zip(*places, strict=True)
    assert xs[0] == min(xs)
    assert ys[0] == min(ys)  # the top left of the grid
    assert ys[24] == max(ys) < height
    # One scale for both axes: the grid is 2 wide and 1.8 high.
    assert (max(xs) - min(xs)) / (max(ys) - min(ys)) == pytest.approx(2 / 1.8, rel=1e-3)


def test_points_in_the_same_place_are_fanned_out():
    same = [dataclasses.replace(point(3), clip_id=str(k)) for k in range(30)]
    places = np.array(drawing(same)[1])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 99 * np.eye(30)
    assert apart.min() > 3
    alone = drawing([point(3), point(4)])[1]
    assert alone[0] == pytest.approx(tuple(places[0]))


def test_a_colouring_has_eight_groups_the_rest_is_grey_and_so_is_no_name():
    names = [f"n{k}" for k in range(11) for _ in range(20 - k)] + ["", ""]
    made = legend("speaker", names)
    assert [g.name for g in made.groups[:8]] == [f"n{k}" for k in range(8)]
    assert [g.slot for g in made.groups] == [*range(8), OTHER, UNNAMED]
    assert [g.size for g in made.groups] == [*range(20, 12, -1), 12 + 11 + 10, 2]
    assert made.groups[8].name == "3 other speakers"
    assert Counter(made.of) == Counter({k: g.size for k, g in enumerate(made.groups)})
    assert len({g.slot for g in made.groups}) == len(made.groups) <= len(SHAPES)


def test_an_emotion_looks_the_same_on_every_page():
    every = legend("emotion", [*EMOTIONS])
    assert [g.name for g in every.groups] == list(EMOTIONS)
    assert len({g.slot for g in every.groups}) == 8
    looks = {g.name: g.slot for g in every.groups}
    few = legend("emotion", ["sad", "sad", "fear", "puzzled"])
    assert [g.name for g in few.groups] == ["fear", "sad", "puzzled"]
    assert all(looks[g.name] == g.slot for g in few.groups[:2])
    assert few.groups[2].slot not in {looks["fear"], looks["sad"]}


def test_colour_and_shape_go_together(tree):
    made = legend("emotion", [p.emotion for p in example().points])
    slots = [made.groups[group].slot for group in made.of]
    assert [a["class"] for a in dots_of(tree)] == [f"dot k{slot}" for slot in slots]
    shapes = [a["href"] for a in tree.all("use") if "href" in a][:25]
    assert shapes == [f"#shape-{slot}" for slot in slots]


def test_the_script_gets_the_points(page):
    (text,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', page)
    points = json.loads(text)
    assert [c["id"] for c in points["clips"]] == [p.clip_id for p in example().points]
    assert points["clips"][7]["near"] == [[8, "0.900"], [9, "0.800"], [10, "0.700"]]
    assert points["clips"][7]["at"] == "0:14.0"
    assert list(points["slots"]) == list(COLOURINGS)


def test_times_are_spelled_as_players_spell_them():
    assert [clock_text(s) for s in (0, 9.96, 59.97, 61.25, 3723.4)] == [
        "0:00.0",
        "0:10.0",
        "1:00.0",
        "1:01.2",
        "1:02:03.4",
    ]


def test_a_map_without_points_or_holes_is_a_page():
    bare = EmotionMap(title="t", project="p", build="b", vectors="v", similarity="s", points=())
    tree = Tree(render_map(bare))
    assert "Coverage holes" not in tree.said
    assert dots_of(tree) == []


def test_the_same_map_gives_the_same_page(page):
    assert render_map(example()) == page


def test_hostile_names_are_text():
    hostile = replaced(example(), lambda text: text and HOSTILE)
    page = render_map(hostile)
    tree = Tree(page)
    assert {a.get("type") for a in tree.all("script")} <= {None, "application/json", "text/plain"}
    assert len([a for a in tree.all("script") if "type" not in a]) == 1
    assert not [a for a in tree.all("img") if "onerror" in a]
    assert "\u202e" not in page
    assert "hacked=1" in tree.said
    (text,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', page)
    assert json.loads(text)["clips"][0]["text"].startswith("<img src=x")


def test_media_are_small_enough_for_a_page_of_270_clips():
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, (18, 32, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    seconds = 2.4
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    speech = (0.1 * buzz * (1 + np.sin(2 * np.pi * 4 * t)) + rng.normal(0, 0.01, len(t))).astype(
        np.float32
    )
    sound = small_sound(Waveform(speech, RATE))
    assert len(sound) / seconds < 4_000
    assert 270 * (len(small_poster(noisy)) + len(sound)) * 4 / 3 < 8e6
    assert small_sound(Waveform(speech, RATE)) == sound


# -- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile"), limit_s=120.0) as made:
        yield made


@pytest.fixture
def opened(browser, page, tmp_path):
    def show(text=page, **view):
        path = tmp_path / "map.html"
        path.write_text(text, encoding="utf-8")
        browser.events.clear()
        browser.open(path, **view)
        return browser

    return show


KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Tab": 9}


def press(browser, key):
    extra = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        code = KEYS[key]
        browser.ask(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **(extra if kind == "keyDown" else {}),
        )


def tap(browser, number, *, aside=0.0):
    """Press the mouse at a point, or some pixels to its right."""
    x, y = browser.run(
        f"(() => {{ const b = document.getElementById('dot-{number}').getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + b.height / 2] })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask(
            "Input.dispatchMouseEvent", type=kind, x=x + aside, y=y, button="left", clickCount=1
        )


def focused(browser):
    return browser.run("document.activeElement.id")


def panel(browser):
    return browser.run("document.getElementById('panel').innerText")


@needs_browser
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_the_page_stays_in_its_window_and_asks_for_nothing(opened, width, phone):
    browser = opened(width=width, phone=phone)
    tap(browser, 12)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert {url.split("/")[-1] for url in browser.requests()} == {"map.html"}
    assert browser.complaints() == []


@needs_browser
def test_a_click_plays_the_clip_and_shows_who_it_is(opened):
    browser = opened()
    assert browser.run("document.getElementById('sound').getAttribute('src')") is None
    tap(browser, 12)
    browser.wait("document.getElementById('sound').currentTime > 0")
    assert browser.run(
        "document.getElementById('sound').src === document.getElementById('sound-12').textContent"
    )
    browser.wait("document.getElementById('poster').naturalWidth > 0")
    said = panel(browser)
    whole = point(12)
    for words in (whole.text, whole.speaker, whole.emotion, whole.film, whole.scene, "0:24.0"):
        assert words in said
    assert "Not embedded" not in said
    links = browser.run(
        "[...document.querySelectorAll('#links line')].map((l) => [l.x2, l.y2].map("
        "(v) => v.baseVal.value))"
    )
    _, places = drawing(example().points)
    np.testing.assert_allclose(links, [places[k] for k in (13, 14, 15)], atol=0.0051)
    assert [f"Line number {k}." in said for k in (13, 14, 15)] == [True] * 3
    assert browser.complaints() == []


@needs_browser
def test_a_finger_beside_a_point_takes_it_and_far_from_all_takes_nothing(opened):
    browser = opened(width=390, phone=True)
    tap(browser, 6, aside=14)
    assert "Line number 6." in panel(browser)
    browser = opened(width=1280)
    tap(browser, 6, aside=45)
    assert "No clip is chosen yet." in panel(browser)


@needs_browser
def test_a_clip_that_is_not_embedded_names_its_source_and_time(opened):
    browser = opened()
    tap(browser, 12)
    tap(browser, 13)
    assert "Not embedded in this page; open alpha/scene_2.mp4 at 0:26.0." in panel(browser)
    assert browser.run("document.getElementById('sound').hidden")
    assert browser.run("document.getElementById('sound').getAttribute('src')") is None
    assert browser.run("document.getElementById('poster').hidden")


@needs_browser
def test_arrow_keys_go_to_the_nearest_point_that_way_and_enter_plays(opened):
    browser = opened()
    reached = []
    for _ in range(12):
        press(browser, "Tab")
        reached.append(focused(browser))
        if reached[-1] == "dot-0":
            break
    assert reached[-1] == "dot-0"  # one stop of the tab order for all points
    way = []
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"):
        press(browser, key)
        way.append(focused(browser))
    assert way == ["dot-1", "dot-6", "dot-11", "dot-12", "dot-7", "dot-6"]
    ring = "document.getElementById('cursor').getAttribute('r')"
    assert float(browser.run(ring)) > 0  # the focus can be seen
    assert browser.run("document.getElementById('readout').textContent") == called(point(6))
    press(browser, "Enter")
    browser.wait("document.getElementById('sound').currentTime > 0")
    assert "Line number 6." in panel(browser)
    assert focused(browser) == "dot-6"
    assert browser.run("document.querySelectorAll('.dot[tabindex=\"0\"]').length") == 1
    press(browser, "ArrowLeft")
    press(browser, "ArrowLeft")  # nothing is further left
    assert focused(browser) == "dot-5"


@needs_browser
def test_the_colouring_is_switched_by_the_arrow_keys_of_its_buttons(opened):
    browser = opened()
    looks = (
        "[...document.querySelectorAll('.dot')].map((d) => [d.getAttribute('class'),"
        "d.querySelector('use').getAttribute('href')])"
    )
    browser.run("document.querySelector('#by input').focus()")
    for by in ("film", "speaker", "emotion"):
        press(browser, "ArrowRight")
        made = legend(by, [getattr(p, by) for p in example().points])
        slots = [made.groups[group].slot for group in made.of]
        assert browser.run(looks) == [[f"dot k{s}", f"#shape-{s}"] for s in slots]
        shown = "[...document.querySelectorAll('.groups')].filter((g) => g.checkVisibility())"
        assert browser.run(f"{shown}.map((g) => g.dataset.by)") == [by]


@needs_browser
def test_the_legend_filters_and_keeps_the_keyboard_on_points_that_are_shown(opened):
    browser = opened()
    shown = (
        "[...document.querySelectorAll('.dot')]"
        ".filter((d) => getComputedStyle(d).display !== 'none')"
        ".map((d) => Number(d.id.slice(4)))"
    )
    browser.run("document.querySelector('#legend-emotion .group').focus()")
    press(browser, "Enter")  # angry: the first column
    assert browser.run(shown) == [k for k in range(25) if k % 5]
    assert browser.run("document.getElementById('shown').textContent") == "20 of 25 shown"
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "false"
    assert browser.run("document.querySelector('.dot[tabindex=\"0\"]').id") == "dot-1"
    browser.run("document.querySelectorAll('#by input')[2].click()")
    browser.run("document.querySelector('#legend-speaker .group').click()")  # Ann: 0, 3, 6 …
    left = [k for k in range(25) if k % 5 and k % 3]
    assert browser.run(shown) == left
    browser.run("document.getElementById('dot-1').focus()")
    press(browser, "ArrowDown")
    assert focused(browser) == "dot-11"  # 6 is hidden
    browser.run("document.getElementById('show-all').click()")
    assert browser.run(shown) == list(range(25))


def drawn(browser, number):
    """Middle of a point on the screen, and its mark's width."""
    return browser.run(
        f"(() => {{ const b = document.querySelector('#dot-{number} use').getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + b.height / 2, b.width] })()"
    )


@needs_browser
def test_zoom_takes_points_apart_and_leaves_marks_as_they_are(opened):
    browser = opened()
    box = browser.run(
        "(() => { const b = document.getElementById('field').getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + b.height / 2] })()"
    )
    before = {k: drawn(browser, k) for k in (12, 13)}
    tap(browser, 12)
    for _ in range(2):
        browser.run("document.getElementById('closer').click()")
    after = {k: drawn(browser, k) for k in (12, 13)}
    assert after[12][:2] == pytest.approx(box, abs=1)  # around the chosen point
    apart = [places[13][0] - places[12][0] for places in (before, after)]
    assert apart[1] == pytest.approx(4 * apart[0], rel=0.01)
    assert after[12][2] == pytest.approx(before[12][2], abs=0.2)
    tap(browser, 12, aside=20)  # twenty pixels are still near, though far on the map
    assert "Line number 12." in panel(browser)


@needs_browser
def test_a_zoomed_map_is_dragged_and_follows_the_keyboard(opened):
    browser = opened()
    browser.run("document.getElementById('dot-12').focus()")
    for _ in range(2):
        browser.ask("Input.dispatchKeyEvent", type="keyDown", key="+", text="+")
        browser.ask("Input.dispatchKeyEvent", type="keyUp", key="+")
    x, y, _ = drawn(browser, 12)
    for kind, right in (("mousePressed", 0), ("mouseMoved", 60), ("mouseReleased", 60)):
        browser.ask(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + right,
            y=y - right,
            button="left",
            buttons=int(kind != "mouseReleased"),
            clickCount=1,
        )
    assert drawn(browser, 12)[:2] == pytest.approx([x + 60, y - 60], abs=1)
    assert "No clip is chosen yet." in panel(browser)  # a drag is no click
    browser.run("document.getElementById('dot-12').focus()")
    for _ in range(2):
        press(browser, "ArrowRight")
    seen = browser.run(
        "(() => { const b = document.getElementById('field').getBoundingClientRect();"
        "return [b.left, b.right] })()"
    )
    assert focused(browser) == "dot-14"
    assert seen[0] < drawn(browser, 14)[0] < seen[1]
    browser.run("document.getElementById('whole').click()")
    assert browser.run("document.getElementById('field').getAttribute('viewBox')").startswith("0 0")


@needs_browser
def test_a_neighbour_and_a_hole_lead_to_their_points(opened):
    browser = opened()
    tap(browser, 12)
    browser.run("document.querySelector('#near button').click()")
    assert focused(browser) == "dot-13"
    assert "Line number 13." in panel(browser)
    browser.run("document.querySelector('#legend-emotion .group:nth-child(1)').click()")
    browser.run("document.querySelector('a.go').click()")
    assert focused(browser) == "dot-7"
    assert "Line number 7." in panel(browser)


@needs_browser
def test_hostile_names_are_inert_in_the_panel_too(opened):
    browser = opened(render_map(replaced(example(), lambda text: text and HOSTILE)))
    tap(browser, 12)
    assert browser.run("typeof hacked") == "undefined"
    assert "<img src=x onerror=hacked=1>" in panel(browser)
    assert browser.run("document.querySelectorAll('#panel img').length") == 1
    assert browser.complaints() == []


@needs_browser
def test_without_the_script_the_first_colouring_is_there(browser, page, tmp_path):
    path = tmp_path / "map.html"
    path.write_text(page, encoding="utf-8")
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=path.as_uri())
        browser.wait("document.readyState === 'complete' && location.href.endsWith('map.html')")
        fills = browser.run(
            "[...document.querySelectorAll('.dot use')].map((u) => getComputedStyle(u).fill)"
        )
        assert browser.run("document.documentElement.dataset.ready") is None
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert len(fills) == 25
    assert len(set(fills)) == 5
    assert [fills[k] for k in range(5)] == [fills[k + 5] for k in range(5)]
