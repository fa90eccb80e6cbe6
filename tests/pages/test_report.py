import base64
import dataclasses
import hashlib
import math
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.metric import Absent, Against, Comparison, Interval, Metric
from redub.pages.contents import Line, Measure, MetricTable, ReportData, SystemRow
from redub.pages.report import render_report
from redub.pages.report_results import cells, differences, standing
from redub.pages.sample_picture import PICTURE_BYTES, Reading, comparison_png
from redub.pages.spelling import interval_text, marked, measure_text, seconds_text, visible
from tests.pages.sample import sample_report, sample_strips

VOID = {"meta", "link", "img", "input", "br"}
HOSTILE = (
    "<img src=x onerror=hacked=1></script></style><script>hacked=1</script>\"'{{7*7}}\u202egpj"
)


class Tree(HTMLParser):
    """Reads a page and refuses what a browser would have to repair."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text, self.raw = [], [], [], {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        (self.raw.setdefault(where, []) if where in {"script", "style"} else self.text).append(data)

    @property
    def said(self):
        return "".join(self.text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def whole_report(lines):
    return dataclasses.replace(sample_report(lines), strips=sample_strips())


@pytest.fixture(scope="module")
def data():
    return whole_report(2)


@pytest.fixture(scope="module")
def page(data):
    return render_report(data)


@pytest.fixture(scope="module")
def tree(page):
    return Tree(page)


def replaced(value, change, *, keep=("direction", "role", "metric", "mime", "kind")):
    """The same report with every text of it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(replaced(v, change) for v in value)
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        kept = (*keep, "name") if isinstance(value, Metric) else keep  # the key of its values
        return dataclasses.replace(
            value, **{n: replaced(v, change) for n, v in fields.items() if n not in kept}
        )
    return value


def test_the_page_is_well_formed_and_its_ids_are_unique(page, tree):
    assert page.startswith("<!doctype html>")
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for a in tree.all("a"))


def test_the_page_names_no_address_outside_itself(page, tree):
    for tag, attributes in tree.elements:
        for name in ("src", "href", "poster", "srcset", "action", "data", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name])
    without_data = re.sub(r"data:[a-z0-9/+.-]+;base64,[A-Za-z0-9+/=]*", "", page)
    without_data = re.sub(r"'sha256-[A-Za-z0-9+/=]*'", "", without_data)  # may hold two slashes
    assert "//" not in re.sub(r"^\s*//.*$", "", without_data, flags=re.M)
    assert not re.search(
        r"url\s*\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", without_data
    )


def test_only_the_pages_own_script_may_run(page, tree):
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    for part in ("default-src 'none'", "img-src data:", "media-src data:", "form-action 'none'"):
        assert part in policy
    assert page.index("Content-Security-Policy") < page.index("<style>")
    for attributes in tree.all("script"):
        assert attributes.get("type") in (None, "text/plain")


def test_every_line_take_and_neighbour_is_there(data, tree):
    shown = tree.said
    for line in data.lines:
        assert line.clip_id in shown
        assert line.text in shown
        for take in line.takes:
            assert take.system in shown
            assert take.transcript in shown
        for casting in line.casting:
            assert casting.query in shown
            for hit in casting.neighbours:
                assert hit.clip_id in shown
                assert f"{hit.score:.3f}" in shown
                assert f"Not used: {hit.excluded}" in shown or not hit.excluded
    players = [a["aria-label"] for a in tree.all("audio")]
    for number, line in enumerate(data.lines, start=1):
        for take in line.takes:
            assert players.count(f"{take.system}, line {number}") == 1
    hits = sum(len(c.neighbours) for line in data.lines for c in line.casting)
    learnt = sum(1 + sum(s.sound is not None for s in strip.samples) for strip in data.strips)
    assert len(players) == hits + sum(len(line.takes) for line in data.lines) + learnt
    assert all(a["preload"] == "none" for a in tree.all("audio") + tree.all("video"))


def test_every_table_card_curve_and_quarantined_clip_is_there(data, tree):
    for row in data.quarantine:
        assert row.clip_id in tree.said
        assert row.message in tree.said
        assert row.command in tree.said
    for card in data.cards:
        for said in (card.title, card.value, card.verdict, card.detail, *sum(card.beside, ())):
            assert said in tree.said
    for cell in ("WER", "without graphs", "−0.3 points", "−3.5 – 2.9"):
        assert cell in tree.said
    for chart in data.charts:
        assert chart.title in tree.said
        assert chart.y_label in tree.said
    drawn = [a["data-series"] for a in tree.all("g") if "data-series" in a]
    assert drawn.count("without graphs") >= len(data.charts)
    for name, value in data.environment:
        assert name in tree.said
        assert value in tree.said
    assert "2\u202f000" in tree.said  # items of the training stage, thousands apart


def test_hostile_text_everywhere_changes_no_element():
    plain = Tree(render_report(replaced(whole_report(1), lambda t: t and "no harm")))
    hostile_page = render_report(replaced(whole_report(1), lambda t: t and HOSTILE))
    hostile = Tree(hostile_page)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    names = {(tag, name) for tag, attributes in hostile.elements for name in attributes}
    assert names == {(tag, name) for tag, attributes in plain.elements for name in attributes}
    assert not [name for _, name in names if name.startswith("on")]
    assert "{{7*7}}" in hostile.said
    assert "\u202e" not in hostile_page
    assert "⟨U+202E⟩gpj" in hostile.said
    assert all("hacked" not in code for code in plain.raw["script"] + hostile.raw["script"])


def test_the_same_report_gives_the_same_page(data, page):
    assert render_report(data) == page


def test_an_empty_report_is_a_page_without_empty_sections():
    tree = Tree(render_report(ReportData(title="Nothing yet", project="p", created="today")))
    assert [a["href"] for a in tree.all("a")] == ["#main", "#summary"]
    assert not tree.all("section")
    assert not tree.all("table")


def test_a_line_with_nothing_but_a_name_is_drawn():
    line = Line(clip_id="bare", text="")
    tree = Tree(render_report(ReportData(title="t", project="p", created="c", lines=(line,))))
    assert "bare" in tree.said
    assert "(no text)" in tree.said


def test_a_page_over_its_limit_is_made_smaller_step_by_step_and_says_so(data, page):
    size = len(page) / 2**20
    medium = render_report(data, size_limit_mib=0.97 * size)
    small = render_report(data, size_limit_mib=0.0)
    assert len(small) < len(medium) < len(page)
    assert ["audio/flac" in p for p in (page, medium, small)] == [True, False, False]
    assert ["left out" in Tree(p).said for p in (page, medium, small)] == [False, False, True]
    assert len(Tree(small).all("video")) == len(data.lines)
    assert len(Tree(medium).all("video")) > len(data.lines)


def test_sixty_lines_that_share_a_library_fit_forty_mebibytes(data):
    many = dataclasses.replace(data, lines=data.lines * 30)
    page = render_report(many)
    assert len(page.encode()) < 40 * 2**20
    assert page.count('<details class="line"') == 60


def test_training_samples_stand_in_their_order_with_picture_sound_and_figures(data, tree):
    pictures = [a for a in tree.all("img") if " at step " in a["alt"]]
    wanted = [
        (f"{strip.run} at step {sample.step}:", base64.b64encode(sample.picture).decode())
        for strip in data.strips
        for sample in strip.samples
        if sample.picture
    ]
    assert len(wanted) == 4
    for attributes, (name, content) in zip(pictures, wanted, strict=True):
        assert attributes["alt"].startswith(name)
        assert "mel L1" in attributes["alt"]
        assert attributes["src"] == f"data:image/png;base64,{content}"
    players = [a["aria-label"] for a in tree.all("audio")]
    assert [p for p in players if " at step " in p] == [name[:-1] for name, _ in wanted]
    for strip in data.strips:
        assert f"Recording of the line that {strip.run} speaks in training" in players
        assert strip.text in tree.said
        for sample in strip.samples:
            assert sample.problem in tree.said
            assert all(value in tree.said for _, value in sample.figures)


def test_training_samples_without_a_curve_are_a_section_too(data):
    bare = ReportData(title="t", project="p", created="c", strips=data.strips)
    tree = Tree(render_report(bare))
    assert [a["id"] for a in tree.all("section")] == ["training"]
    assert "#training" in [a["href"] for a in tree.all("a")]


FRAMES, SYMBOLS = 200, ("sil", "HH", "AH0", "L", "OW1", "sil")


def reading_of(*, louder=0.0, seed=0, pitch=True):
    rng = np.random.default_rng(seed)
    lengths = np.diff([0, *np.sort(rng.choice(np.arange(1, FRAMES), 5, replace=False)), FRAMES])
    f0 = np.where(rng.random(FRAMES) > 0.3, rng.uniform(90, 300, FRAMES), 0).astype(np.float32)
    mel = rng.uniform(-6, 0, (FRAMES, 80)).astype(np.float32) + np.float32(louder)
    return Reading(mel, f0 if pitch else None, lengths)


def drawn(predicted, recorded, title="step 7"):
    png = comparison_png(predicted, recorded, SYMBOLS, title=title, hop_s=0.01)
    return png, cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_a_training_picture_is_small_and_the_same_bytes_again():
    png, pixels = drawn(reading_of(), reading_of(seed=1))  # noise is the worst to compress
    assert pixels.shape == (900, 840, 3)
    assert len(png) <= PICTURE_BYTES
    assert drawn(reading_of(), reading_of(seed=1))[0] == png
    assert drawn(reading_of(), reading_of(seed=2))[0] != png


def test_both_mels_of_a_training_picture_share_one_colour_scale():
    # The recorded mel is the same in both; it must look darker beside a louder prediction.
    recorded = slice(320, 450)  # rows of its panel
    _, even = drawn(reading_of(), reading_of())
    _, beside_louder = drawn(reading_of(louder=4.0), reading_of())
    assert beside_louder[recorded].mean() < even[recorded].mean() - 20


@pytest.mark.parametrize("frames", [1, 2, 3000])
def test_a_training_picture_of_any_length_without_pitch_and_a_hostile_title_is_drawn(frames):
    rng = np.random.default_rng(0)
    short = Reading(rng.normal(-4, 1, (frames, 12)).astype(np.float32), None, np.array([frames]))
    png = comparison_png(short, short, ["AA"], title="$\\frac{x \u202e $$ \u4e2d", hop_s=0.01)
    assert png.startswith(b"\x89PNG")
    assert len(png) <= PICTURE_BYTES


def table(direction, *rows):
    metric = Metric(name="m", title="M", direction=direction)
    made = tuple(
        SystemRow(system=str(i), role=role, values={"m": Measure(*values)})
        for i, (role, *values) in enumerate(rows)
    )
    whole = MetricTable(metrics=(metric,), rows=made)
    return [standing(whole, row, metric) for row in made]


def test_the_best_competitor_is_marked_and_its_equals_are_dotted():
    rows = (
        ("reference", 0.0, 0.0, 0.0),
        ("system", 7.0, 6.8, 7.2),
        ("system", 7.3, 6.9, 7.7),
        ("baseline", 9.0, 8.5, 9.5),
    )
    assert table("lower", *rows) == ["", "best", "tied", ""]
    assert table("higher", *rows) == ["", "", "", "best"]
    signed = (("system", -0.4, -0.6, -0.2), ("system", 0.9, 0.5, 1.3), ("system", -2.0, -3, -1))
    assert table("zero", *signed) == ["best", "", ""]
    assert table("none", *rows) == ["", "", "", ""]


def test_nothing_is_best_of_one_or_of_nothing():
    assert table("lower", ("reference", 1.0), ("system", 2.0)) == ["", ""]
    assert table("lower", ("system", None), ("system", math.nan)) == ["", ""]
    assert table("lower", ("system", 2.0), ("system", None), ("system", 2.0)) == [
        "best",
        "",
        "best",
    ]


def test_a_cell_without_a_value_says_why_and_a_scale_changes_the_shown_value():
    metric = Metric(name="m", title="M", unit="cents", scale=1200, digits=0)
    row = SystemRow(system="a", role="system", values={"m": Absent("E-X", "no frame is voiced")})
    other = SystemRow(system="b", role="system", values={"m": Measure(0.5, 0.25, 1.0)})
    whole = MetricTable(metrics=(metric,), rows=(row, other))
    [empty], [full] = cells(whole, row), cells(whole, other)
    assert (empty.value, empty.reason) == ("–", "no frame is voiced")
    assert (full.value, full.interval, full.reason) == ("600", "300 – 1200", "")
    page = render_report(ReportData(title="t", project="p", created="c", results=whole))
    assert [a["title"] for a in Tree(page).all("td") if "title" in a] == ["no frame is voiced"]


HOSTILE_NAMES = ("majority", "above the majority", "x above y", "training-mean mel", HOSTILE)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_difference_takes_its_unit_from_the_metric_and_nothing_from_names(name):
    metrics = (
        Metric(name="a", title="EMO-ACC of x", unit="dB"),
        Metric(name="b", title=name, unit="%", scale=100, digits=1),
    )
    made = tuple(
        Comparison(
            metric=metric,
            run=name,
            against=Against(kind="run", name=f"{name} below {name}"),
            interval=Interval(0.25, -0.5, 1.0),
        )
        for metric in ("a", "b")
    )
    in_decibels, in_percent = differences(made, MetricTable(metrics=metrics, rows=()))
    assert (in_decibels.value, in_decibels.interval) == ("+0.25 dB", "−0.50 – 1.00")
    assert (in_percent.value, in_percent.interval) == ("+25.0 points", "−50.0 – 100.0")
    assert in_decibels[:3] == ("EMO-ACC of x", name, f"{name} below {name}")


@pytest.mark.parametrize(
    ("measure", "percent", "value", "interval"),
    [
        (Measure(0.617, 0.532, 0.702), True, "61.7\u202f%", "53.2 – 70.2"),
        (Measure(-0.33, -0.5, 0.1), False, "−0.3", "−0.5 – 0.1"),
        (Measure(None, 0, 1), False, "–", ""),
        (Measure(math.inf), False, "–", ""),
        (Measure(1.0, None, 2.0), False, "1.0", ""),
        (None, False, "–", ""),
        (Absent("E-X", "there is no sound"), True, "–", ""),
    ],
)
def test_figures_are_spelled_for_people(measure, percent, value, interval):
    scale, unit = (100, "%") if percent else (1, "")
    assert measure_text(measure, 1, scale=scale, unit=unit) == value
    assert interval_text(measure, 1, scale=scale) == interval


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (212, "3 min 32 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_spelled_for_people(seconds, text):
    assert seconds_text(seconds) == text


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\u202e\u2066\x00\x1b\u200b\ufeff")))
def test_visible_text_hides_and_reorders_nothing(text):
    shown = visible(text)
    assert not re.search(
        "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", shown
    )
    if text.isascii() and text.isprintable():
        assert shown == text


def test_scripts_that_need_joiners_keep_them_and_lone_surrogates_can_be_written():
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("a\ud800b") == "a⟨U+D800⟩b"
    assert visible("two\nlines\tand") == "two lines and"


def test_shared_words_are_marked_whole_and_escaped():
    assert str(marked("The green, <b>green</b>house", ("GREEN",))) == (
        "The <mark>green,</mark> &lt;b&gt;green&lt;/b&gt;house"
    )
