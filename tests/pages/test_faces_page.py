"""The contact sheet of faces: what it shows, and that it holds nothing but itself."""

import base64
import dataclasses
import re

import cv2
import numpy as np
import pytest

from redub.pages.contents import QuarantineRow, Table
from redub.pages.faces import FaceClip, FaceSheet, Fed, Moment, outline, render_faces
from tests.features.drawn_faces import draw_face
from tests.pages.browser import Browser, chromium
from tests.pages.test_report import HOSTILE, Tree, replaced

needs_browser = pytest.mark.skipif(chromium() is None, reason="no chromium on PATH")
BOX = (30.25, 20.0, 120.5, 130.0)


def moment(number=0, *, found_by="frontal", landmarks=None, box=BOX):
    rng = np.random.default_rng(number)
    crop = rng.integers(0, 256, (96, 96), dtype=np.uint8)
    face = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    fed = (Fed(label="local_face", picture=face), Fed(label="mouth_crop", picture=crop))
    return Moment(
        number=number,
        time_s=number / 25,
        frame=draw_face(opening=0.1 * number),
        box=box,
        found_by=found_by,
        landmarks=landmarks,
        fed=fed if box else (),
    )


def sheet():
    points = np.random.default_rng(7).uniform(40, 140, (68, 2)).astype(np.float32)
    seen = FaceClip(
        clip_id="film/scene/0",
        text="How dare you?",
        speaker="Ruby",
        face_source="frontal 2 of 8 frames, longest gap 4",
        mouth_source="landmarks",
        moments=(moment(0, landmarks=points), moment(3, found_by=""), moment(5)),
    )
    empty = FaceClip(
        clip_id="film/scene/1",
        moments=(moment(0, box=None, found_by=""),),
        trouble=(("face_track", "E-FEAT-NOFACE: too few of the 2 searched frames show a face"),),
        look="no face track",
    )
    return FaceSheet(
        title="small: faces",
        project="small",
        created="2024-01-02 03:04",
        summary="All 2 clips.",
        clips=(seen, empty),
        counts=(Table(title="Face found by", columns=("face_source", "clips"), rows=(("a", 1),)),),
        notes=("3 clips are not extracted yet.",),
        absent=(Table(title="face_track", columns=("code", "clips"), rows=(("E-X", 2),)),),
        quarantine=(
            QuarantineRow(clip_id="film/scene/2", stage="extract", code="E-IN-CUT", message="cut"),
        ),
    )


@pytest.fixture(scope="module")
def page():
    return render_faces(sheet())


@pytest.fixture(scope="module")
def tree(page):
    return Tree(page)


def test_the_page_is_well_formed_and_its_ids_are_unique(page, tree):
    assert page.startswith("<!doctype html>")
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for a in tree.all("a"))
    assert all(a["aria-labelledby"] in ids for a in tree.all("article"))


def test_the_page_names_no_address_outside_itself_and_runs_nothing(page, tree):
    for tag, attributes in tree.elements:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
    assert tree.all("script") == []
    without_data = re.sub(r"data:[a-z0-9/+.-]+;base64,[A-Za-z0-9+/=]*", "", page)
    assert "//" not in without_data
    assert not re.search(r"url\s*\(|@import", without_data)
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy


def test_everything_of_the_sheet_is_said(tree):
    said = tree.said
    for clip in sheet().clips:
        for words in (clip.clip_id, clip.text, clip.face_source, clip.mouth_source, clip.look):
            assert words in said
    for words in ("E-FEAT-NOFACE: too few of the 2", "not extracted yet", "E-IN-CUT", "0.12 s"):
        assert words in said


def test_boxes_lie_where_they_were_found_and_dashes_mean_between(tree):
    rects = [r for r in tree.all("rect") if "over" in r.get("class", "")]
    assert [r["class"] for r in rects] == ["over found", "over between", "over found"]
    sides = ("x", "y", "width", "height")
    assert [float(rects[0][s]) for s in sides] == pytest.approx(BOX, abs=0.06)
    boxes = {a["viewbox"] for a in tree.all("svg") if a["viewbox"] != "0 0 27 18"}
    assert boxes == {"0 0 192 192"}  # of the drawn frame, so boxes are in its pixels


def test_every_landmark_is_drawn_at_its_place(tree):
    points = sheet().clips[0].moments[0].landmarks
    (path,) = [a["d"] for a in tree.all("path") if len(a["d"]) > 200]
    drawn = [[float(v) for v in pair.split()] for pair in re.findall(r"M([^h]+)h0", path)]
    np.testing.assert_allclose(drawn, points, atol=0.051)


def test_fed_pictures_are_shown_to_the_pixel(tree):
    shown = [a for a in tree.all("img") if a["src"].startswith("data:image/png")]
    assert len(shown) == 6
    for attributes, fed in zip(
        shown, [f for m in sheet().clips[0].moments for f in m.fed], strict=True
    ):
        assert attributes["alt"].startswith(f"{fed.label}, frame")
        content = np.frombuffer(base64.b64decode(attributes["src"].split(",")[1]), np.uint8)
        read = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read if read.ndim == 2 else read[:, :, ::-1], fed.picture)


def test_large_fed_pictures_keep_their_shape():
    wide = Fed(label="face_caption", picture=np.zeros((192, 384, 3), np.uint8))
    one = dataclasses.replace(moment(), fed=(wide,))
    tree = Tree(
        render_faces(dataclasses.replace(sheet(), clips=(FaceClip(clip_id="a", moments=(one,)),)))
    )
    (shown,) = [a["src"] for a in tree.all("img") if a["src"].startswith("data:image/png")]
    content = np.frombuffer(base64.b64decode(shown.split(",")[1]), np.uint8)
    assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape == (48, 96, 3)


def test_pictures_have_a_text_alternative():
    assert outline(moment(2)) == ("frame 2: face box found by frontal, 120 by 130 pixels at 30, 20")
    assert outline(moment(2, box=None, found_by="")) == "frame 2: no face box"
    text = outline(moment(2, found_by="", landmarks=np.zeros((68, 2))))
    assert "interpolated or repeated" in text
    assert text.endswith(", with landmarks")


def test_empty_parts_are_left_out():
    bare = FaceSheet(title="t", project="p", created="c")
    tree = Tree(render_faces(bare))
    assert "Quarantine" not in tree.said
    assert "Without a value" not in tree.said
    assert tree.all("article") == []


def test_the_same_sheet_gives_the_same_page(page):
    assert render_faces(sheet()) == page


def test_hostile_names_are_text():
    hostile = replaced(sheet(), lambda text: text and HOSTILE, keep=("created",))
    page = render_faces(hostile)
    tree = Tree(page)
    assert tree.all("script") == []
    assert not [a for a in tree.all("img") if "onerror" in a]
    assert "\u202e" not in page
    assert "hacked=1" in tree.said


# -- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def shown_clips(browser):
    return browser.run(
        "[...document.querySelectorAll('.clip')].filter((c) => c.checkVisibility())"
        ".map((c) => c.querySelector('.id').textContent)"
    )


def press(browser, key, code):
    for kind in ("keyDown", "keyUp"):
        browser.ask(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )


@needs_browser
@pytest.mark.parametrize(("width", "phone"), [(1300, False), (360, True)])
def test_the_page_stays_in_its_window_and_asks_for_nothing(browser, page, tmp_path, width, phone):
    path = tmp_path / "faces.html"
    path.write_text(page, encoding="utf-8")
    browser.events.clear()
    browser.open(path, width=width, phone=phone)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert {url.split("/")[-1] for url in browser.requests()} == {"faces.html"}
    assert browser.complaints() == []
    sizes = browser.run("[...document.images].map((i) => i.naturalWidth)")
    assert len(sizes) == 10
    assert min(sizes) > 0


@needs_browser
def test_the_drawn_box_covers_the_same_part_of_the_shown_picture(browser, page, tmp_path):
    path = tmp_path / "faces.html"
    path.write_text(page, encoding="utf-8")
    browser.open(path)
    shares = browser.run(
        "(() => { const s = document.querySelector('.shot');"
        "const [p, b] = [s.querySelector('img'), s.querySelector('.over')]"
        ".map((e) => e.getBoundingClientRect());"
        "return [(b.left - p.left) / p.width, (b.top - p.top) / p.height,"
        "b.width / p.width, b.height / p.height] })()"
    )
    # The line itself is two pixels wide.
    assert shares == pytest.approx([side / 192 for side in BOX], abs=0.02)


@needs_browser
def test_the_choice_works_by_keyboard_alone(browser, page, tmp_path):
    path = tmp_path / "faces.html"
    path.write_text(page, encoding="utf-8")
    browser.open(path)
    assert shown_clips(browser) == ["film/scene/0", "film/scene/1"]
    reached = []
    for _ in range(12):
        press(browser, "Tab", 9)
        reached.append(
            browser.run("document.activeElement.id || document.activeElement.textContent")
        )
    assert "Skip to the faces" in reached
    assert "all-clips" in reached
    assert "film/scene/0" in reached
    browser.run("document.getElementById('all-clips').focus()")
    press(browser, "ArrowRight", 39)
    assert shown_clips(browser) == ["film/scene/1"]
    press(browser, "ArrowLeft", 37)
    assert len(shown_clips(browser)) == 2
