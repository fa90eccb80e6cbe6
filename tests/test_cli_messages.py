"""Messages name what was typed, what exists, and a command that can be typed as it stands."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

import redub as redub_package
from redub.cli import app
from redub.commands import invocation
from redub.commands.apps import GROUPS
from redub.commands.invocation import INVOCATION, with_place
from redub.core.errors import ClipError, ConfigError
from redub.pipeline.reports.doctor import Examination, plain_text
from redub.pipeline.store.index.builds import library_clips
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.pipeline.store.packs.voices import Voice
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from tests.json_schema import checked
from tests.pipeline.films import make_project
from tests.typed import redub

ROOT = Path(redub_package.__file__).parents[1]
SYNC = ("--scheduler", "sync")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sources, one file and one line that cannot be used; mels were extracted, and a run."""
    root = make_project(tmp_path_factory.mktemp("messages") / "my film", sources=2)
    (root / "footage" / "empty.mp4").touch()
    srt = root / "footage" / "scene_1.srt"
    srt.write_text(srt.read_text() + "\n3\n00:09:00,000 --> 00:09:01,000\nANN: too late\n")
    done = redub("ingest", "-C", root, *SYNC)
    assert done.returncode == 3, done.stderr
    for run in ("authentic", "baseline"):
        folder = root / "runs" / run
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    return root


def last_line(done):
    return done.stderr.splitlines()[-1]


# -- names of runs


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "authentc"),
        ("synthesize", "authentc"),
        ("dub", "{film}", "--script", "{script}", "-o", "out.mp4", "--run", "authentc"),
        ("runs", "show", "authentc"),
        ("runs", "rm", "authentc", "--yes"),
        ("runs", "compare", "authentic", "authentc"),
        ("runs", "export", "authentc", "out.safetensors"),
    ],
)
def test_every_command_that_takes_a_run_answers_an_unknown_one_with_the_nearest(root, words):
    film = root / "footage" / "scene_0.mp4"
    script = film.with_suffix(".srt")
    done = redub(*(w.format(film=film, script=script) for w in words), "-C", root)
    assert done.returncode == 2, done.stderr
    assert last_line(done) == "E-USAGE: no run 'authentc'; did you mean 'authentic'?"
    assert "train" not in done.stderr


def test_a_report_of_a_run_that_was_removed_names_it(root, tmp_path):
    evaluation = {"format": 2, "split": "test", "runs": ["gone"], "metrics": [], "systems": [],
                  "lines": [], "baselines": {}, "comparisons": [], "recogniser": "",
                  "unknown_words": [], "made_from": "", "left_out": {}}  # fmt: skip
    place = root / "evaluations"
    place.mkdir()
    (place / "00000001.json").write_text(json.dumps(evaluation))
    done = redub("report", "-C", root)
    assert done.returncode == 4, done.stderr
    assert "runs that were removed since: gone; run `redub evaluate -C " in done.stderr


# -- files that are not there


def test_a_missing_file_is_one_sentence_and_one_exit_code_for_every_option(root, tmp_path):
    film = root / "footage" / "scene_0.mp4"
    script = film.with_suffix(".srt")
    gone = tmp_path / "gone"
    common = ("-o", tmp_path / "out.mp4", "-C", root)
    for words in (
        ("dub", gone, "--script", script, *common),
        ("dub", film, "--script", gone, *common),
        ("dub", film, "--script", script, "--direct", gone, *common),
        ("train", "--config", gone, "-C", root),
    ):
        done = redub(*words)
        assert (done.returncode, done.stderr) == (4, f"E-IN-MISSING: there is no file {gone}\n")


# -- values of options


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--pitch", "high", "--pitch 'high': wanted a number, as in +2st"),
        ("--pitch", "+40st", "--pitch +40st: wanted at most 18 semitones up or down"),
        ("--range", "wide", "--range 'wide': wanted a number, as in 1.3"),
        ("--range", "9", "--range 9: wanted a factor from 0 to 4"),
        ("--energy", "loud", "--energy 'loud': wanted a number, as in +2dB"),
        ("--energy", "99dB", "--energy +99dB: wanted at most 24 dB up or down"),
        ("--rate", "fast", "--rate 'fast': wanted a number, as in 1.3"),
        ("--rate", "9", "--rate 9: wanted a factor from 0.25 to 4"),
        ("--emotion", "sad:2", "--emotion 'sad:2': wanted an intensity from 0 to 1, as in sad:0.7"),
        ("--emotion", "sad:x", "--emotion 'sad:x': wanted a number, as in 1.3"),
        ("--emotion", "sda", "--emotion 'sda': unknown emotion 'sda'; did you mean 'sad'?"),
        ("--more", "sda", "--more 'sda': unknown emotion 'sda'; did you mean 'sad'?"),
        ("--less", "sad:9", "--less 'sad:9': wanted a weight above 0, at most 4, as in sad:0.4"),
    ],
)
def test_a_message_about_a_control_begins_with_the_option(option, value, said):
    from typer.testing import CliRunner

    words = ["dub", "a.mp4", "--script", "a.srt", "-o", "b.mp4", option, value]
    done = CliRunner().invoke(app, words)
    assert str(done.exception) == f"E-USAGE: {said}"


@pytest.mark.parametrize(
    ("text", "line"),
    [("[train]\npreset = ", 2), ("a = 1\nb = [\n1,\n", 3), ("x\n", 1), ("[a\n", 1)],
)
def test_a_broken_toml_file_is_named_with_its_line(tmp_path, text, line):
    (tmp_path / "redub.toml").write_text(text)
    done = redub("status", "-C", tmp_path)
    assert done.returncode == 4
    assert f"at line {line}," in done.stderr
    assert "redub.toml" in done.stderr


def test_an_unknown_voice_is_answered_with_the_speakers_and_one_clip():
    builder = object.__new__(UtteranceBuilder)
    builder.voices = {
        name: Voice(name, {f"film~{name}-{line:04d}": None for line in range(18)})
        for name in ("ZOE", "KIM")
    }
    with pytest.raises(ConfigError, match="E-VOICE") as refused:
        builder.named_voice("BOB")
    assert refused.value.message == (
        "unknown voice 'BOB'; speakers: KIM, ZOE; or the id of a clip, such as film~KIM-0000"
    )
    with pytest.raises(ConfigError, match="did you mean 'ZOE'"):
        builder.named_voice("ZOEY")


# -- outside of a project


def test_outside_of_a_project_both_ways_in_are_named(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        done = redub("status", "-C", place)
        assert done.returncode == 4
        assert "start a project with `redub init DIR`, or name one with -C DIR" in done.stderr
        assert ("there is no folder" in done.stderr) == (place != tmp_path)


@pytest.mark.parametrize("name", GROUPS)
def test_a_folder_before_the_name_of_a_command_is_answered_with_the_whole_command(name):
    done = redub(name, "-C", "my film")
    assert done.returncode == 2
    first = next(iter(typer.main.get_command(app).commands[name].commands))
    assert last_line(done) == (
        f"E-USAGE: -C comes after the command's name: redub {name} {first} -C 'my film'"
    )


def test_a_project_that_exists_is_followed_by_its_next_command(tmp_path):
    assert redub("init", tmp_path / "demo").returncode == 0
    done = redub("init", "demo", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.endswith("nothing was changed; next: redub status -C demo\n")


# -- commands in messages


def test_commands_between_backticks_get_the_folder_that_was_named(monkeypatch):
    given = "run `redub index build`, then `redub bad retry` or `redub weights add … --replace`"
    assert with_place(given) == given
    monkeypatch.setattr(INVOCATION, "project", invocation.Path("my film"))
    assert with_place(given) == (
        "run `redub index build -C 'my film'`, then `redub bad retry -C 'my film'` or "
        "`redub weights add … --replace -C 'my film'`"
    )
    for other in ("`redub init DIR`", "`redub demo X`", "`redub status -C b`", "`redub --help`"):
        assert with_place(other) == other


@pytest.mark.parametrize(
    "words", [("report",), ("evaluate",), ("retrieve",), ("train",), ("index", "stats")]
)
def test_a_stage_that_comes_too_early_names_a_command_with_the_folder(tmp_path, words):
    make_project(tmp_path / "new one", sources=1)
    for place in (("-C", "new one"), ()):
        inside = tmp_path if place else tmp_path / "new one"
        done = redub(*words, *place, cwd=inside)
        assert done.returncode != 0
        [command] = re.findall(r"`(redub [^`]+)`", done.stderr)
        assert shlex.split(command)[-2:] == ["-C", "new one"] or not place
        assert ("-C" in command) == bool(place)


# -- quarantine


def test_commands_look_for_clips_in_one_place():
    """So that all of them know what ingest quarantined."""
    files = (ROOT / "redub").rglob("*.py")
    found = [file.name for file in files if "unknown clip '" in file.read_text()]
    assert found == ["tables.py"]


def test_what_ingest_quarantined_is_explained_where_a_clip_is_named(root):
    for clip, code in (("empty.mp4", "E-IN-EMPTY"), ("scene_1-0003", "E-SUB-PASTEND")):
        done = redub("cache", "why", clip, "-C", root)
        assert done.returncode == 3, done.stderr
        assert done.stderr.startswith(f"{code}: '{clip}' was quarantined at ingest: ")
        assert f"see `redub bad show {clip} -C '{root}'`" in done.stderr
        with pytest.raises(ClipError, match="was quarantined at ingest") as refused:
            Store(open_project(root)).clip(clip)
        assert refused.value.code == code
    assert "did you mean 'empty.mp4'" in redub("cache", "why", "emty.mp4", "-C", root).stderr


def test_a_quarantined_clip_is_shown_with_the_command_that_releases_it(root):
    done = redub("bad", "show", "empty.mp4", "-C", root)
    assert last_line(done) == f"next: redub bad retry empty.mp4 -C '{root}'"
    assert "bad show" not in done.stderr


@pytest.mark.parametrize("clip", ["empty.mp4", "scene_1-0003"])
def test_the_code_of_a_row_is_explained_with_its_meaning_and_the_line_that_raises_it(root, clip):
    shown = redub("bad", "show", clip, "-C", root).stderr
    [command] = re.findall(r"`redub (bad explain [^`]+)`", shown)
    done = redub(*shlex.split(command))
    assert done.returncode == 0, done.stderr
    code = command.split()[-1]
    head, *more = done.stderr.splitlines()
    assert re.fullmatch(rf"{code}: [a-z].{{20,}}", head)
    places = [line.removeprefix("raised at: ").split(":") for line in more if "raised at" in line]
    for file, line in places:
        assert code in (ROOT / file).read_text().splitlines()[int(line) - 1]
    assert {file for file, _ in places} - {"redub/footage/faults.py"}
    answer = checked(redub("bad", "explain", code.lower(), "--json").stdout)
    assert (answer["code"], answer["exit_codes"]) == (code, [3] if answer["errors"] else [])
    assert "did you mean 'E-IN-EMPTY'" in redub("bad", "explain", "E-IN-EMTY").stderr


def test_a_release_of_what_is_not_quarantined_names_what_is(root, tmp_path):
    words = ("bad", "retry", "emty.mp4")
    assert "is not quarantined; did you mean 'empty.mp4'?" in redub(*words, "-C", root).stderr
    clean = make_project(tmp_path, sources=1)
    done = redub(*words, "-C", clean)
    assert (done.returncode, done.stderr) == (
        2,
        "E-USAGE: 'emty.mp4' is not quarantined; nothing is\n",
    )


def test_a_walk_says_how_many_rows_each_stage_quarantined(root, tmp_path):
    place = make_project(tmp_path, sources=1)
    (place / "footage" / "empty.mp4").touch()
    done = redub("run", "--to", "ingest", *SYNC, "-C", place)
    assert (
        "1 ingest: 2 sources read, 0 unchanged, 2 clips, 1 files and lines quarantined"
        in done.stderr
    )
    assert f"1 quarantined; see them with: redub bad list -C {place}" in done.stderr


# -- values that are absent


def test_reasons_of_absent_values_tell_null_quarantined_and_pending(root, monkeypatch):
    """Three rows planted in a store: the words come from the state of each."""
    import polars as pl

    store = Store(open_project(root))
    ids = store.clip_frame()["clip_id"].to_list()
    live = pl.DataFrame(
        {"clip_id": ids[:2], "valid": [True, False], "why_not": ["", "E-FEAT-SILENT: silence"]}
    )
    held = pl.DataFrame(
        {"clip_id": [ids[2], ids[3]], "stage": "extract", "feature": ["", "durations"],
         "code": ["E-IN-CUT", "E-FEAT-ERROR"]}
    )  # fmt: skip
    assert store.why_absent("mel", live=live, held=held) == {
        ids[1]: "E-FEAT-SILENT: silence",
        ids[2]: "quarantined: E-IN-CUT",
    }
    # A fault of the media says nothing about a feature of the words.
    assert store.why_absent("phonemes", live=live.head(0), held=held) == {}


def test_clips_without_an_audio_vector_are_counted_by_reason(tmp_path):
    from redub.pipeline.stages.extract import extract
    from redub.pipeline.stages.index import build_index
    from redub.pipeline.stages.ingest import ingest
    from redub.pipeline.work.executor import Scheduler
    from tests.footage.media import make, steady
    from tests.pipeline.films import INDEXED

    place = make_project(tmp_path, sources=1)
    (place / "footage" / "splits.csv").write_text("scene,split\nscene_0,train\nmute,train\n")
    make(place / "footage" / "mute.mp4", steady(50), size=(96, 64))
    project = open_project(place)
    ingest(project, scheduler=Scheduler("sync", 1))
    extract(project, scheduler=Scheduler("sync", 1), features=list(INDEXED))
    summary = build_index(project)
    assert set(library_clips(Store(project))[1]) == {"mute-0001"}
    assert summary.left_out == 1
    assert summary.reasons.startswith("1 × E-IN-NOAUDIO: ")
    assert summary.lines()[1] == (
        f"1 training clips left out: they have no audio vector ({summary.reasons})"
    )
    status = redub("status", "-C", place)
    assert f"why a value is null: `redub cache why mute-0001 -C {place}`" in status.stderr
    why = redub("cache", "why", "mute-0001", "-C", place).stderr
    head = why[: why.index("\n\n")].splitlines()
    [line] = [text for text in head if "audio_emotion" in text]
    assert "null: E-IN-NOAUDIO" in line
    assert len(head) < 12


# -- doctor


def test_doctor_ends_with_a_verdict_and_its_texts_have_no_markup():
    done = redub("doctor")
    assert last_line(done) == "verdict: this installation works; no problem was found"
    assert ":func:" not in done.stderr
    assert ":class:" not in done.stderr
    assert Examination(problems=["a"]).verdict == "verdict: 1 problem, see above"
    assert plain_text("See :func:`~a.b.c` and :class:`D` of ``e``.") == "See c and D of e."
