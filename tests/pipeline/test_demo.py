"""`redub demo`: what a call says, and a killed one that is called again."""

import json
import shutil
import time

import pytest

from redub.core.errors import ConfigError
from redub.core.metric import Interval
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL
from redub.footage.demo_film import FilmSpec
from redub.footage.demo_film.plan import plan_film
from redub.pipeline.demo import AUTHENTIC, BASELINE, in_words, tour_of
from redub.pipeline.reports.evaluation_cards import cards_of
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.evaluations import last_evaluation
from tests.typed import LONG_S, Typed


def evaluated(root):
    """What was measured, without when and of which file."""
    found = last_evaluation(open_project(root)).to_json()
    return json.dumps([found["systems"], found["lines"]], sort_keys=True)


@pytest.mark.slow
def test_a_demo_that_was_killed_ends_as_one_that_was_not(typed_demo, tmp_path):
    root = tmp_path / "demo"
    shutil.copytree(typed_demo, root)
    for made in ("index", "neighbours", "packs", "runs", "dubbed", "evaluations", "report.html"):
        path = root / made
        path.unlink() if path.is_file() else shutil.rmtree(path)
    command = ("demo", root, "--quick", "--seed", "3")
    first = Typed(*command)
    metrics = root / "runs" / AUTHENTIC / "metrics.jsonl"
    until = time.monotonic() + LONG_S
    while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < until:
        assert not first.ended(0.05), first.done().stderr
    first.kill()
    first.done(LONG_S)
    assert not (root / "evaluations").exists()
    again = Typed(*command).done(LONG_S)
    assert again.returncode == 0, again.stderr
    assert evaluated(root) == evaluated(typed_demo)


def test_a_demo_says_first_how_long_it_takes_and_last_where_to_look(walked):
    _, said = walked
    assert "minutes" in said[0]
    assert [line.split(":")[0] for line in said[-3:]] == ["look at", "play", "next"]
    for stage in (
        "film",
        "1 ingest",
        "2 extract",
        "3 index",
        "4 retrieve",
        "5 train",
        "7 evaluate",
    ):
        assert any(f"] {stage}: " in line for line in said), stage


def test_the_words_of_an_evaluation_hold_its_figures_and_the_recordings(walked):
    found = last_evaluation(open_project(walked[0]))
    said = " ".join(in_words(found))
    values = {row.system: row.values for row in found.systems}
    for name in (AUTHENTIC, BASELINE, GROUND_TRUTH):
        for metric in ("wer", "emo_acc"):
            assert f"{100 * values[name][metric][0]:.1f} [" in said


def test_the_cards_show_the_words_and_what_is_worse(walked):
    """Each card's own figure stands beside the recording's; a rival that is better is named."""
    found = last_evaluation(open_project(walked[0]))
    values = {row.system: row.values for row in found.systems}
    values[AUTHENTIC]["wer"] = Interval(0.6, 0.55, 0.65)
    values[BASELINE]["wer"] = Interval(0.5, 0.45, 0.54)
    values[GROUND_TRUTH]["wer"] = Interval(0.1, 0.0, 0.2)
    values[AUTHENTIC]["gpe"] = Interval(0.3, 0.25, 0.35)
    values[BASELINE]["gpe"] = Interval(0.5, 0.4, 0.6)
    values[MEAN_MEL]["gpe"] = Interval(0.7, 0.6, 0.8)
    values[AUTHENTIC]["mcd_dtw_mel"] = Interval(4.0, 3.0, 5.0)
    values[BASELINE]["mcd_dtw_mel"] = Interval(4.5, 4.0, 6.0)
    values[MEAN_MEL]["mcd_dtw_mel"] = Interval(7.0, 6.0, 8.0)
    cards = {card.title.rpartition(" (")[2].rstrip(")"): card for card in cards_of(found)}
    words, pitch, mel = (cards[name] for name in ("WER", "GPE", "MCD-DTW"))
    assert (words.value, words.standing) == ("60.0 %", "worse")
    beside = {
        "ground truth": "10.0 %",
        "baseline": "50.0 %",
        "no word understood": "100.0 %",
    }
    assert beside.items() <= dict(words.beside).items()
    assert words.verdict == "worse than baseline; worse than the recording"
    assert pitch.standing == "better"
    assert mel.standing == "open"
    assert mel.verdict == "no clear difference from baseline; worse than the recording"
    assert cards["EMO-ACC"].detail.startswith("95 % interval")


def test_quick_and_full_exclude_each_other():
    with pytest.raises(ConfigError, match="--quick and --full"):
        tour_of(7, quick=True, full=True)


def test_the_full_tour_is_the_film_of_the_documented_tables():
    full, usual = tour_of(7, full=True), tour_of(7)
    assert full.film == FilmSpec(seed=7)
    assert list(full.runs) == [AUTHENTIC, BASELINE]
    assert list(usual.runs) == [AUTHENTIC]
    assert usual.film.scenes * usual.film.lines_per_scene < 336 / 2


def test_few_choices_make_a_film_of_few_words():
    def words(choices):
        film = plan_film(FilmSpec(seed=1, scenes=6, lines_per_scene=10, choices=choices))
        return {word for scene in film for line in scene.lines for word in line.text.split()}

    assert len(words(6)) < 0.8 * len(words(40))
