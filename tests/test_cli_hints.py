"""Commands that messages and pages name exist, and every `next:` line works as it stands."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

import redub as redub_package
from redub.cli import app
from redub.core.config import close_match
from redub.footage.demo_film import FilmSpec, make_film
from tests.pipeline.films import add_source
from tests.typed import LONG_S, Typed, redub

PACKAGE = Path(redub_package.__file__).parent
ROOT = PACKAGE.parent
ROOT_COMMAND = typer.main.get_command(app)
HOLE = "X"  # stands for what a message fills in


def texts_of(tree):
    """The strings of a module; what an f-string fills in is :data:`HOLE`."""
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
            inner |= {id(part) for part in node.values}
            yield "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def named_commands():
    """(where, command line) of all commands between backticks in messages, and in pages."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in texts_of(ast.parse(path.read_text(encoding="utf-8"))):
            for found in re.findall(r"`(redub [^`\n]+)`", text):
                yield path.name, found
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if "decisions" in path.parts:
            continue  # they tell how commands were, too
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"`(redub [^`\n]+)`", text):
            yield path.name, found
        for block in re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if line.startswith("redub "):
                    yield path.name, line.partition("#")[0]


def problem_of(line):
    """What is wrong with a command line; empty if its command and options exist."""
    line = re.sub(r"\[[^\]]*\]|…|\.\.\.", " ", line)  # optional parts in pages
    line = re.split(r"[|&;<>]", line)[0]
    try:
        words = shlex.split(line)[1:]
    except ValueError:
        return "quotes do not end"
    command, path = ROOT_COMMAND, []
    while hasattr(command, "commands"):
        while words and words[0].startswith("-"):  # options before the command
            takes = {o: p for p in command.params for o in p.opts}
            known = takes.get(words[0])
            if known is None:
                return "" if words[0] in ("--help", "--version") else f"no option {words[0]}"
            words = words[1 if getattr(known, "is_flag", False) else 2 :]
        if not words:
            return ""  # `redub index` names a group
        if words[0] == HOLE or words[0].isupper():
            return ""
        for name in words[0].split("/"):
            if name not in command.commands:
                return f"no command {' '.join([*path, name])}"
        path.append(words[0])
        command, words = command.commands[words[0].split("/")[0]], words[1:]
    options = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        name = word.split("=")[0]
        if re.match(r"--?[a-z]", name) and name not in options:
            return f"`{' '.join(path)}` has no option {name}"
    return ""


def test_every_command_that_a_message_or_a_page_names_exists_with_its_options():
    found = list(named_commands())
    assert len(found) > 150
    assert not [(where, line, why) for where, line in found if (why := problem_of(line))]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("redub extract --scheduler sync", ""),
        ("redub extrct", "no command extrct"),
        ("redub index bild", "no command index bild"),
        ("redub train --speed 3", "`train` has no option --speed"),
        ("redub -C X status", ""),
        ("redub -Q X status", "no option -Q"),
        ("redub bad list|show", ""),
    ],
)
def test_the_check_of_commands_sees_wrong_ones(line, why):
    assert problem_of(line) == why


@pytest.mark.slow
def test_the_next_lines_lead_from_an_empty_folder_to_a_report_as_they_stand(tmp_path):
    """Each line is typed as printed; only the footage is added, and the training is cut short."""
    root = tmp_path / "my film"
    done = Typed("init", root).done(LONG_S)
    typed = []
    while True:
        assert done.returncode == 0, (typed, done.stderr)
        line = next(row for row in reversed(done.stderr.splitlines()) if row.startswith("next: "))
        words = shlex.split(line.removeprefix("next: "))
        assert words[0] == "redub"
        if words in typed:
            break
        if words[1] == "ingest":
            film = FilmSpec(seed=3, scenes=3, lines_per_scene=4, speakers=1)
            make_film(root / "footage", tmp_path / "truth", film)
        if words[1] == "train":
            words += ["--max-steps", "2"]
        typed.append(words)
        done = Typed(*words[1:]).done(LONG_S)
        if words[1] == "report":
            break
    assert [words[1] for words in typed][:4] == ["ingest", "extract", "index", "retrieve"]
    assert {"train", "synthesize", "evaluate", "report"} <= {words[1] for words in typed}
    assert done.returncode == 0, done.stderr


def test_the_next_line_of_a_prepared_corpus_makes_a_project_that_reads_it(tmp_path):
    """Wherever it was prepared from, with a relative folder."""
    talker = tmp_path / "grid" / "s1"
    add_source(talker, "bbaf2n", seed=1, lines=1)
    for path in talker.iterdir():
        if path.suffix != ".mp4":
            path.unlink()
    (tmp_path / "work").mkdir()

    done = redub("corpus", "prepare", "grid", tmp_path / "grid", "made", cwd=tmp_path / "work")

    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stderr.splitlines()[-1].removeprefix("next: "))
    started = redub(*words[1:], cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    following = shlex.split(started.stderr.splitlines()[-1].removeprefix("next: "))
    read = redub(*following[1:], "--scheduler", "sync", cwd=tmp_path)
    assert read.returncode == 0, read.stderr
    assert "1 sources read" in read.stderr


def test_a_name_of_a_film_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    for name in ("o.avi", "o", "o.wav"):
        done = redub("dub", "film.mp4", "--script", "film.srt", "-o", name, cwd=tmp_path)
        assert done.returncode == 2
        assert "wanted a name that ends in .mp4" in done.stderr


def test_a_missing_file_is_answered_with_a_similar_one(tmp_path):
    (tmp_path / "scene_01.mp4").write_bytes(b"x")
    for words in (
        ("dub", "scene_1.mp4", "--script", "scene_01.mp4", "-o", "o.mp4"),
        ("dub", "scene_01.mp4", "--script", "scene_01.mp", "-o", "o.mp4"),
        ("say", "--file", "scene_1.mp4"),
    ):
        done = redub(*words, cwd=tmp_path)
        assert done.returncode in (2, 4)
        if "no project" not in done.stderr and "redub init" not in done.stderr:
            assert "did you mean 'scene_01.mp4'?" in done.stderr


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("hpm", ["hama", "hpm_dubbing", "mpm"], "hpm_dubbing"),
        ("silero", ["silero_vad", "solero"], "silero_vad"),
        ("scene_01", ["scene_11-0001", "scene_01-0002", "scene_01-0001"], "scene_01-0001"),
        ("mell", ["mel", "f0"], "mel"),
    ],
)
def test_the_beginning_of_a_name_is_nearer_than_similar_letters(word, known, near):
    assert close_match(word, known) == f"did you mean '{near}'?"
