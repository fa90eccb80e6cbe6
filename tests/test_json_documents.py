"""``--json``: every command has it, and prints what the committed schema of the document says."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import typer

from redub.cli import app
from redub.commands.console import put
from redub.commands.documents import DOCUMENTS
from redub.pipeline.store.verify import StoreCheck, StoreRepair
from tests.json_schema import SCHEMAS, checked, faults_of
from tests.pipeline.films import make_project
from tests.typed import redub

ROOT = Path(__file__).parents[1]


def commands(group, name="redub"):
    """Full name and click command of everything that can be typed."""
    if not hasattr(group, "commands"):
        yield name, group
        return
    for child, inner in group.commands.items():
        yield from commands(inner, f"{name} {child}")


# -- what the code says


def test_every_command_has_json():
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 40
    without = [
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert without == []


def test_commands_print_the_listed_documents_and_no_others():
    printed = set()
    for file in (ROOT / "redub").glob("commands/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "put":
                [schema] = [word.value for word in node.keywords if word.arg == "schema"]
                printed.add(schema.value)
    assert printed == DOCUMENTS.keys()


def test_no_function_of_a_command_has_more_than_60_lines():
    for file in [ROOT / "redub" / "cli.py", *(ROOT / "redub" / "commands").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{file.name}: {node.name}"


@pytest.fixture(scope="module")
def maker():
    path = ROOT / "docs" / "make_schemas.py"
    spec = importlib.util.spec_from_file_location("make_schemas", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_committed_schemas_are_those_of_the_dataclasses(maker):
    committed = {file.name: file.read_text(encoding="utf-8") for file in SCHEMAS.glob("*.json")}
    made = maker.files()
    assert made.keys() == committed.keys()
    changed = [name for name, text in made.items() if text != committed[name]]
    assert changed == [], "run `python docs/make_schemas.py` and commit the files"


def test_every_class_and_field_of_a_document_is_described_and_no_sentence_is_left_over(maker):
    descriptions = maker.descriptions()
    maker.schemas(descriptions)
    assert descriptions.missing == set()
    assert descriptions.unused() == set()


@pytest.mark.parametrize(
    ("table", "name", "said"),
    [("fields", "speech_s", "SynthesisSummary.speech_s"), ("classes", "Absent", "Absent")],
)
def test_a_schema_without_a_sentence_is_refused_by_name_and_nothing_is_written(
    maker, monkeypatch, tmp_path, table, name, said
):
    tables = {key: dict(own) for key, own in maker.descriptions().tables.items()}
    tables[table].pop(name, None)
    monkeypatch.setattr(maker, "descriptions", lambda: maker.Descriptions(tables))
    monkeypatch.setattr(maker, "FOLDER", tmp_path)
    with pytest.raises(SystemExit) as end:
        maker.main()
    assert isinstance(end.value.code, str)  # Python prints it and exits with 1
    assert end.value.code.startswith(f"no description of {said}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_document_is_printed_under_the_name_of_its_own_dataclass_only(capsys):
    put(StoreCheck(3, ("a.parquet is damaged",)), schema="cache.verify")
    answer = checked(capsys.readouterr().out)
    assert answer == {
        "schema": "redub.cache.verify/1",
        "files": 3,
        "damaged": ["a.parquet is damaged"],
    }
    with pytest.raises(AssertionError):
        put(StoreRepair(()), schema="cache.verify")


@pytest.mark.parametrize(
    "change",
    [
        {"files": "3"},
        {"files": 3.5},
        {"files": True},
        {"damaged": [1]},
        {"damaged": None},
        {"schema": "redub.cache.verify/2"},
        {"extra": 1},
    ],
)
def test_the_check_sees_a_document_that_breaks_its_schema(change):
    schema = json.loads((SCHEMAS / "cache.verify.json").read_text(encoding="utf-8"))
    right = {"schema": "redub.cache.verify/1", "files": 3, "damaged": []}
    assert faults_of(right, schema, schema) == []
    assert len(faults_of({**right, **change}, schema, schema)) == 1
    for key in right:
        cut = {name: value for name, value in right.items() if name != key}
        assert faults_of(cut, schema, schema) == [f"$: no key {key}"]


# -- what commands print


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two sources of two lines, and one file that cannot be read; not ingested yet."""
    root = make_project(tmp_path_factory.mktemp("json") / "p", sources=2)
    (root / "footage" / "empty.mp4").touch()
    return root


def printed(*words, code=0):
    """The document of a command that ends with an exit code."""
    done = redub(*words, "--json")
    assert done.returncode == code, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return checked(done.stdout)


def test_stages_and_looks_at_the_store_print_their_documents(project):
    place = ("-C", project)
    assert printed("config", *place)["footage"]["root"] == "footage"
    assert printed("plan", *place)["footage"]["to_read"] == [
        "empty.mp4",
        "scene_0.mp4",
        "scene_1.mp4",
    ]
    sync = ("--scheduler", "sync")
    read = printed("ingest", *sync, *place, code=3)
    assert (read["sources"], read["clips"], read["quarantined"]) == (3, 4, 1)
    planned = printed("extract", "-n", *place)
    assert planned["schema"] == "redub.plan/1"
    assert {line["feature"]: line["new"] for line in planned["features"]}["mel"] == 4
    assert printed("run", "-n", *place) == planned
    assert printed("extract", "-f", "mel", *sync, *place)["rows"] == 4  # one mel per clip
    status = printed("status", *place)
    assert status["clips"] == 4
    assert {line["feature"]: line["committed"] for line in status["ledger"]}["mel"] == 4
    assert status["next_command"].startswith("redub ")
    [row] = printed("bad", "list", *place)["rows"]
    assert (row["clip_id"], row["code"]) == ("empty.mp4", "E-IN-EMPTY")
    assert printed("bad", "show", "empty.mp4", *place)["rows"] == [row]
    explained = printed("cache", "why", "scene_0-0001", *place)
    assert {own["feature"]: own["state"] for own in explained["rows"]}["mel"] == "committed"
    assert printed("cache", "verify", *place)["damaged"] == []
    assert printed("cache", "repair", *place)["tables"] == []
    assert printed("bad", "retry", *place)["rows"] == 1
    assert printed("bad", "list", *place)["rows"] == []
    assert printed("runs", "ls", *place)["runs"] == []


def test_damage_is_in_the_document_and_the_exit_code_stays(tmp_path):
    root = make_project(tmp_path, sources=1)
    for words in (("ingest",), ("extract", "-f", "mel")):
        assert redub(*words, "--scheduler", "sync", "-C", root).returncode == 0
    part = next((root / "features" / "mel").rglob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    [sentence] = printed("cache", "verify", "-C", root, code=6)["damaged"]
    assert part.name in sentence
    [table] = printed("cache", "repair", "-C", root)["tables"]
    assert table.startswith("features/mel/")


def test_a_new_project_and_its_weights_print_their_documents(tmp_path):
    made = printed("init", tmp_path / "new")
    assert Path(made["file"]).name == "redub.toml"
    assert Path(made["footage"]).is_dir()
    place = ("-C", tmp_path / "new")
    (tmp_path / "words.txt").write_text("WE W IY1\n")
    added = printed("weights", "add", "lexicon", tmp_path / "words.txt", *place)
    assert list(added["files"]) == ["words.txt"]
    listed = printed("weights", "list", *place)["weights"]
    assert listed == [{key: value for key, value in added.items() if key != "schema"}]
    assert printed("weights", "verify", *place)["weights"] == {"lexicon": []}
    assert "lexicon" in printed("weights", "kinds")["kinds"]
    assert printed("weights", "remove", "lexicon", *place) == added
    assert printed("weights", "list", *place)["weights"] == []


def test_a_command_that_fails_prints_no_document_and_keeps_its_exit_code(tmp_path):
    for words, code in (
        (("status", "-C", tmp_path), 4),
        (("dub", "a.mp4", "--script", "a.srt", "-o", "b.mp4", "--context", "x"), 2),
        (("dub", "a.mp4", "--script", "a.srt", "-o", "b.mp4", "--line", "1"), 2),
        (("train", "--devices", "0", "-C", make_project(tmp_path / "p", sources=1)), 2),
        (("report", "-C", tmp_path / "p"), 4),
        (("runs", "show", "none", "-C", tmp_path / "p"), 2),
    ):
        done = redub(*words, "--json")
        assert (done.returncode, done.stdout) == (code, ""), (words, done.stderr)
        assert done.stderr.startswith("E-")
