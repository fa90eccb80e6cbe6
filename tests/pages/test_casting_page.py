"""The casting sheet as a page: what it says, marks and plays, and that it loads nothing."""

import base64
import dataclasses
import hashlib
import math
import re

import numpy as np
import pytest

from redub.core.types import Waveform
from redub.pages.casting import (
    CastClip,
    CastHit,
    CastingSheet,
    CastModality,
    CastReason,
    CastText,
    LeftOut,
    Piece,
    changes,
    class_bars,
    render_casting,
)
from redub.pages.contents import Sound
from tests.pages.browser import Browser, chromium
from tests.pages.sample import film_of, pitch_of, sound_of
from tests.pages.test_report import HOSTILE, Tree, replaced

needs_browser = pytest.mark.skipif(chromium() is None, reason="no chromium on PATH")
LABELS = ("angry", "fear", "happy", "neutral")
SHARES = {"angry": 0.61, "fear": 0.04, "happy": 0.1, "neutral": 0.25}


def clip(name, *, filmed=True, text="Where is my hammer?", **more):
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    sound = Sound(waveform=Waveform(sound_of(pitch_of(rng, 60, 180), rng), 16_000))
    picture = film_of(rng, 15) if filmed else None
    given = {"speaker": "Ruby", "emotion": "angry", "film": "Moonfleet", "scene": "harbour"}
    return CastClip(clip_id=name, text=text, picture=picture, sound=sound, **{**given, **more})


CLIPS = {name: clip(name) for name in ("a", "b", "c", "d")} | {"s": clip("s", filmed=False)}
LINE = clip("the-line", text="How dare you touch my green clock?", speaker="Oscar")
CAPTION = CastText(
    title="scene caption",
    pieces=(Piece("A dim room; it feels "), Piece("angry", True), Piece(" and red.")),
)


def hit(rank, name, *, score=0.9, margin=0.1, why_gone="", shares=(0.5, 0.25, 0.25, 0.0)):
    caption = CastText(
        title="scene caption", pieces=(Piece("Bright, "), Piece("angry", True), Piece("?"))
    )
    line = CastText(title="line", pieces=(Piece(CLIPS[name].text),))
    return CastHit(
        rank=rank,
        clip=CLIPS[name],
        score=score,
        margin=margin,
        texts=(caption, line),
        shares=shares,
        why_gone=why_gone,
    )


def modality(name, hits, after=None, **more):
    return CastModality(
        modality=name,
        similarity=f"cosine of {name}_emotion",
        texts=(CAPTION,),
        labels=LABELS,
        shares=tuple(SHARES[label] for label in LABELS),
        hits=hits,
        after=after,
        candidates=17,
        **more,
    )


def sheet(*, notes=False):
    first = (hit(1, "a", score=0.98764), hit(2, "b", score=-0.25), hit(3, "s", margin=math.nan))
    later = None
    second, second_after = (hit(1, "b", why_gone="its film may not be retrieved"),), None
    if notes:
        later = (hit(1, "s"), hit(2, "d"), hit(3, "a"))
        second_after = (hit(1, "c", shares=()),)
        first = (
            first[0],
            dataclasses.replace(first[1], why_gone="others rank higher"),
            first[2],
        )
    silence = "The line has no face_emotion, so nothing was searched: E-FEAT-NOFACE: no face"
    return CastingSheet(
        title="the-line: casting sheet",
        project="small",
        created="2024-01-02 03:04",
        line=LINE,
        summary="Each of 3 modalities retrieves the 3 most similar clips.",
        line_facts=(("speaker", "Oscar"), ("slot", "1.00 s to 2.40 s")),
        line_texts=(CastText(title="face caption", pieces=(Piece("none: no face"),)),),
        notes=("more angry (0.4)", "only from Moonfleet") if notes else (),
        modalities=(
            modality("scene", first, later),
            CastModality(
                modality="face",
                similarity="cosine of face_emotion",
                after=() if notes else None,
                silence=silence,
            ),
            modality("text", second, second_after),
        ),
        library=300,
        eligible=57,
        eligible_before=99 if notes else None,
        reasons=(
            CastReason(
                name="speaker",
                words="a speaker that may not be retrieved",
                count=243,
                count_before=201 if notes else None,
                clips=tuple(
                    LeftOut(
                        clip_id=f"lost-{i}", speaker="Milo", film="Other", also=("split", "film")
                    )
                    for i in range(200)
                ),
            ),
            CastReason(name="itself", words="it is the line itself", count=0, count_before=1),
        ),
        outside=(CastReason(name="test split", words="training clips only", count=2),),
        facts=(("index build", "abc123"), ("K", "3"), ("scene_emotion", "0badcafe by builtin")),
    )


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with notes"])
def case(request):
    made = sheet(notes=request.param)
    page = render_casting(made)
    return made, page, Tree(page)


def hits_of(made):
    return [h for m in made.modalities for h in (*m.hits, *(m.after or ()))]


def test_the_page_is_well_formed_and_its_ids_are_unique(case):
    _, page, tree = case
    assert page.startswith("<!doctype html>")
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for a in tree.all("a"))
    assert all(a["aria-labelledby"] in ids for _, a in tree.elements if "aria-labelledby" in a)


def test_the_page_names_no_address_outside_itself(case):
    _, page, tree = case
    for tag, attributes in tree.elements:
        for name in ("src", "href", "poster", "srcset", "action", "data", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
    without_data = re.sub(r"data:[a-z0-9/+.-]+;base64,[A-Za-z0-9+/=]*", "", page)
    assert "//" not in re.sub(r"^\s*//.*$", "", without_data, flags=re.M)
    assert not re.search(
        r"url\s*\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", without_data
    )


def test_only_the_pages_own_script_may_run(case):
    _, page, tree = case
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    for attributes in tree.all("script"):
        assert attributes.get("type") in (None, "text/plain")


def test_every_hit_is_there_with_its_figures_in_rank_order(case):
    made, _, tree = case
    cards = [a["data-clip"] for a in tree.all("li") if "data-clip" in a]
    assert cards == [h.clip.clip_id for h in hits_of(made)]
    for words in ("0.9876", "−0.2500", "+0.1000", "abc123", "0badcafe by builtin", "1.00 s"):
        assert words in tree.said
    assert "margin–" in tree.said  # where no clip was passed over
    for h in hits_of(made):
        assert h.clip.text in tree.said
    for note in made.notes:
        assert note in tree.said
    assert made.modalities[1].silence in tree.said


def test_only_shared_words_are_marked(case):
    made, page, _ = case
    texts = [t for m in made.modalities for t in m.texts] + [
        t for h in hits_of(made) for t in h.texts
    ]
    wanted = [p.text for t in texts for p in t.pieces if p.shared]
    marks = re.findall(r"<mark>(.*?)</mark>", page)
    assert sorted(marks) == sorted(wanted)
    assert "it feels <mark>angry</mark> and red." in page


def test_classes_are_numbers_and_bars_of_the_same_length(case):
    made, page, _ = case
    rows = re.findall(
        r'<tr data-feeling="(\w+)"><th scope="row">\1</th><td class="pair" aria-hidden="true">'
        r'<i class="query-bar" style="width:([\d.]+)%"></i>'
        r'<i class="hit-bar" style="width:([\d.]+)%"></i></td>'
        r'<td class="n">([\d.–]+)</td><td class="n">([\d.–]+)</td></tr>',
        page,
    )
    assert len(rows) == len(LABELS) * len(hits_of(made))
    for h, start in zip(hits_of(made), range(0, len(rows), len(LABELS)), strict=True):
        for place, (label, asked_wide, given_wide, asked, given) in enumerate(
            rows[start : start + len(LABELS)]
        ):
            assert label == LABELS[place]
            assert float(asked_wide) == pytest.approx(100 * SHARES[label])
            assert asked == f"{SHARES[label]:.2f}"
            if h.shares:
                assert float(given_wide) == pytest.approx(100 * h.shares[place])
                assert given == f"{h.shares[place]:.2f}"
            else:
                assert (given_wide, given) == ("0.0", "–")


def test_unknown_classes_are_not_drawn():
    unknown = dataclasses.replace(modality("scene", ()), shares=())
    assert class_bars(unknown, hit(1, "a", shares=())) == []
    assert [bar.query for bar in class_bars(unknown, hit(1, "a"))] == [None] * 4


MAGIC = {"video/mp4": b"ftyp", "audio/mp4": b"ftyp", "image/jpeg": b"\xff\xd8"}


def medium(tree, page, attributes, name):
    """The bytes behind an element's src or poster, wherever the page keeps them."""
    address = attributes.get(name)
    if address is None:
        key = attributes[f"data-shared-{name}"]
        (address,) = re.findall(rf'<script type="text/plain" id="m-{key}">([^<]+)</script>', page)
    kind, content = re.fullmatch(r"data:([a-z0-9/]+);base64,(.+)", address).groups()
    found = base64.b64decode(content, validate=True)
    assert MAGIC[kind] in found[:12]
    return kind, found


def test_everything_that_plays_has_its_data_and_each_medium_is_there_once(case):
    made, page, tree = case
    sounds, films = tree.all("audio"), tree.all("video")
    assert len(sounds) + len(films) == 1 + len(hits_of(made))
    assert {medium(tree, page, a, "src")[0] for a in sounds} == {"audio/mp4"}
    assert {medium(tree, page, a, "src")[0] for a in films} == {"video/mp4"}
    assert {medium(tree, page, a, "poster")[0] for a in films} == {"image/jpeg"}
    assert all(a["preload"] == "none" and a["aria-label"] for a in sounds + films)
    assert len({a["aria-label"] for a in sounds + films}) == len(sounds + films)
    contents = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert len(contents) == len(set(contents))
    shown = {h.clip.clip_id: h.clip for h in hits_of(made)} | {LINE.clip_id: LINE}
    filmed = [c for c in shown.values() if c.picture]
    assert len(contents) == 2 * len(filmed) + len(shown) - len(filmed)
    held = {medium(tree, page, a, "src")[1] for a in films}
    assert held == {c.picture.mp4 for c in filmed}


def test_a_page_over_its_limit_keeps_pictures_and_sounds_and_the_lines_film():
    made = sheet()
    page = render_casting(made, size_limit_mib=0.001)
    tree = Tree(page)
    assert [a["aria-label"] for a in tree.all("video")] == ["The line itself, the-line"]
    assert len(tree.all("audio")) == 4
    assert len(tree.all("img")) == 3  # the clip without a picture has none
    assert {medium(tree, page, a, "src")[0] for a in tree.all("img")} == {"image/jpeg"}
    assert "Films of library clips are left out" in tree.said
    assert "Films of library clips are left out" not in Tree(render_casting(made)).said


# -- before and after


def test_what_the_notes_did_is_said_of_every_hit():
    before = (
        hit(1, "a"),
        hit(2, "b", why_gone="others rank higher"),
        hit(3, "c"),
        hit(4, "s"),
    )
    after = (hit(1, "c"), hit(2, "d"), hit(3, "a"), hit(4, "s"))
    left, right = changes(before, after)
    assert [change.kind for change in left] == ["kept", "gone", "kept", "kept"]
    assert [change.said for change in left] == [
        "kept, down 2 to rank 3",
        "gone: others rank higher",
        "kept, up 2 to rank 1",
        "kept, same rank",
    ]
    assert [change.kind for change in right] == ["kept", "new", "kept", "kept"]
    assert [change.said for change in right] == [
        "kept, up 2 from rank 3",
        "new",
        "kept, down 2 from rank 1",
        "kept, same rank",
    ]


def test_from_no_hits_all_are_new_and_to_no_hits_all_are_gone():
    hits = (hit(1, "a"), hit(2, "b"))
    assert [c.kind for c in changes((), hits)[1]] == ["new", "new"]
    assert [c.kind for c in changes(hits, ())[0]] == ["gone", "gone"]
    assert changes((), ()) == ([], [])


def test_cards_wear_what_the_notes_did():
    tree = Tree(render_casting(sheet(notes=True)))
    worn = [(a["data-clip"], a["class"].split()[-1]) for a in tree.all("li") if "data-clip" in a]
    assert worn == [
        *[("a", "kept"), ("b", "gone"), ("s", "kept")],
        *[("s", "kept"), ("d", "new"), ("a", "kept")],
        *[("b", "gone"), ("c", "new")],
    ]
    assert "gone: its film may not be retrieved" in tree.said
    plain = Tree(render_casting(sheet()))
    assert {a["class"] for a in plain.all("li") if "data-clip" in a} == {"hit card"}
    assert "ithout the notes" not in plain.said


# -- who was left out


def test_reasons_are_counted_and_long_lists_say_what_they_leave_out(case):
    made, _, tree = case
    said = re.sub(r"\s+", " ", tree.said)
    assert "57 of the 300 clips of the library could be retrieved" in said
    assert "243 could not." in said
    assert "speaker: 243 clips" in said
    assert "and 43 more" in said
    assert sum(words.startswith("lost-") for words in tree.text) == 200
    assert "split, film" in said
    if made.notes:
        assert "99 without them" in said
        assert re.search(r"a speaker that may not be retrieved ?201 ?243", said)


def test_hostile_text_everywhere_changes_no_element():
    plain = Tree(render_casting(replaced(sheet(notes=True), lambda t: t and "no harm")))
    hostile_page = render_casting(replaced(sheet(notes=True), lambda t: t and HOSTILE))
    hostile = Tree(hostile_page)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    names = {(tag, name) for tag, attributes in hostile.elements for name in attributes}
    assert names == {(tag, name) for tag, attributes in plain.elements for name in attributes}
    assert "{{7*7}}" in hostile.said
    assert "\u202e" not in hostile_page
    assert all("hacked" not in code for code in hostile.raw["script"])


def test_an_empty_sheet_is_a_page():
    bare = CastingSheet(title="t", project="p", created="c", line=CastClip(clip_id="bare"))
    tree = Tree(render_casting(bare))
    assert "(no text)" in tree.said
    assert "No clip of the library was left out." in tree.said
    assert tree.all("audio") + tree.all("video") == []


def test_the_same_sheet_gives_the_same_page(case):
    made, page, _ = case
    assert render_casting(made) == page


# -- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def opened(browser, tmp_path):
    def show(made, **view):
        path = tmp_path / "casting.html"
        path.write_text(render_casting(made), encoding="utf-8")
        browser.events.clear()
        browser.open(path, **view)
        return browser

    return show


def press(browser, key, code):
    for kind in ("keyDown", "keyUp"):
        browser.ask(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )


ALL_METADATA = """
Promise.all([...document.querySelectorAll("audio, video")].map((media) => new Promise((done) => {
  media.onloadedmetadata = () => done([media.tagName, media.duration, media.videoWidth || 0]);
  media.onerror = () => done([media.tagName, -1, 0]);
  media.preload = "metadata";
  media.load();
})))
"""


@needs_browser
def test_every_clip_can_be_played_and_nothing_is_asked_for(opened):
    made = sheet(notes=True)
    browser = opened(made)
    found = browser.run(ALL_METADATA)
    assert len(found) == 1 + len(hits_of(made))
    assert all(seconds == pytest.approx(0.6, abs=0.15) for _, seconds, _ in found)
    assert {width for tag, _, width in found if tag == "VIDEO"} == {160}
    posters = browser.run("[...document.querySelectorAll('video')].map((v) => v.poster.length)")
    assert min(posters) > 1000
    assert {url.split("/")[-1] for url in browser.requests()} == {"casting.html"}
    assert browser.complaints() == []


@needs_browser
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
@pytest.mark.parametrize("notes", [False, True])
def test_nothing_sticks_out_of_the_window(opened, width, phone, notes):
    browser = opened(sheet(notes=notes), width=width, phone=phone)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.run("document.documentElement.scrollWidth") <= width


@needs_browser
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_before_and_after_stand_side_by_side_where_there_is_room(opened, width, phone):
    browser = opened(sheet(notes=True), width=width, phone=phone)
    left, right = browser.run(
        "['.before', '.after'].map((s) => document.querySelector(s).getBoundingClientRect())"
        ".map((b) => [b.left, b.top])"
    )
    if phone:
        assert left[0] == right[0]
        assert left[1] < right[1]
    else:
        assert left[0] < right[0]
        assert left[1] == right[1]


@needs_browser
def test_one_clip_sounds_at_a_time(opened):
    browser = opened(sheet())
    players = "document.querySelectorAll('.card :is(audio, video)')"
    for place in (0, 1):
        browser.run(f"{players}[{place}].loop = true; {players}[{place}].play()")
        browser.wait(f"!{players}[{place}].paused && {players}[{place}].currentTime > 0")
    browser.wait(f"{players}[0].paused")
    assert not browser.run(f"{players}[1].paused")


@needs_browser
@pytest.mark.parametrize("notes", [False, True])
def test_the_keyboard_reaches_everything_in_the_order_it_is_read(opened, notes):
    browser = opened(sheet(notes=notes))
    browser.run(
        "for (const [i, e] of [...document.querySelectorAll("
        "'a[href], audio, video, summary, [tabindex]')].entries()) e.dataset.order = i"
    )
    wanted = browser.run(
        "[...document.querySelectorAll('[data-order]')].filter((e) => e.checkVisibility())"
        ".map((e) => Number(e.dataset.order))"
    )
    reached = []
    for _ in range(12 * len(wanted)):  # a player's own buttons take several steps
        press(browser, "Tab", 9)
        place = browser.run("Number(document.activeElement.dataset.order ?? -1)")
        if place < 0:
            break
        if not reached or reached[-1] != place:
            reached.append(place)
    assert reached == wanted
    assert browser.run("document.querySelectorAll('summary').length") == 2
    browser.run("document.querySelector('summary').focus()")
    press(browser, "Enter", 13)
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@needs_browser
def test_hostile_names_are_inert(opened):
    browser = opened(replaced(sheet(notes=True), lambda t: t and HOSTILE))
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("document.title").startswith("<img src=x onerror=hacked=1>")
    assert browser.complaints() == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_text_and_marks_stand_out_in_both_themes(opened, dark):
    browser = opened(sheet(notes=True), dark=dark)

    def luminance(rgb):  # WCAG 2.2, relative luminance
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def colour(selector, side):
        found = browser.run(f"getComputedStyle(document.querySelector('{selector}')).{side}")
        return luminance([int(v) for v in re.findall(r"\d+", found)[:3]])

    card = colour(".card", "backgroundColor")
    assert (card < 0.1) is dark
    for selector, ground in (
        ("mark", colour("mark", "backgroundColor")),
        (".card .said", card),
        (".card.gone .change", card),
        (".card.new .change", card),
        (".classes tbody th", card),
        (".scores dt", card),
    ):
        light, shade = sorted((colour(selector, "color"), ground), reverse=True)
        assert (light + 0.05) / (shade + 0.05) >= 4.5, selector
