"""Both doors for texts made elsewhere, captions and reactions: one reader, one way in."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.features.picture.imported_caption import CAPTIONS
from redub.features.text.imported_lines import canonical_lines, parse_lines
from redub.features.text.imported_reaction import REACTIONS
from redub.pipeline.imports.captions import import_captions
from redub.pipeline.imports.reactions import import_reactions
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import FILE_NAME
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import make_project, tree_digest

DOORS = {"captions": (import_captions, "scene"), "reactions": (import_reactions, "reaction")}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# -- the reader

BOTH = [
    ("{", "not JSON"),
    ("glad", "not JSON"),
    ("[1]", "not a JSON object"),
    ('"a"', "not a JSON object"),
    ('{"TEXT": "x"}', "no clip_id"),
    ('{"clip_id": "", "TEXT": "x"}', "no clip_id"),
    ('{"clip_id": " ", "TEXT": "x"}', "no clip_id"),
    ('{"clip_id": 3, "TEXT": "x"}', "'clip_id' is 3"),
    ('{"clip_id": null, "TEXT": "x"}', "'clip_id' is None"),
    ('{"clip_id": "a", "TEXT": ["x"]}', "'TEXT' is ['x']"),
    ('{"clip_id": "a", "TEXT": NaN}', "NaN is not a JSON value"),
    ('{"clip_id": "a", "TEXT": -Infinity}', "-Infinity is not a JSON value"),
    ('{"clip_id": "a", "TEXT": 1e999}', "'TEXT' is inf"),
    (f'{{"clip_id": "a", "TEXT": {"9" * 5000}}}', "a number of 5000 digits"),
    ('{"clip_id": "a", "TEXT": "x", "mood": "y"}', "unknown column 'mood'"),
    ('{"clip_id": "a", "TEXTs": "x"}', "did you mean 'TEXT'"),
    ('{"clip_id": "a", "clip_id": "b", "TEXT": "x"}', "the column 'clip_id' comes twice"),
    ('{"clip_id": "ok", "TEXT": "again"}', "'ok' has a row already, in line 1"),
    ('{"clip_id": "a", "TEXT": "\\ud83d broken"}', "half a character"),
    ('{"clip_id": "\\ud83d", "TEXT": "x"}', "half a character"),
    ('{"clip_id": "a", "\\ud83d": "x"}', "unknown column '\\ud83d'"),
    ("[" * 9000, "brackets within brackets"),
    ('{"clip_id": "a", "TEXT": ' + "[" * 900 + "]" * 900 + "}", "'TEXT' is [["),
]


@pytest.mark.parametrize("form", [CAPTIONS, REACTIONS], ids=lambda form: form.kind)
@pytest.mark.parametrize(("line", "words"), BOTH, ids=range(len(BOTH)))
def test_a_faulty_line_is_named_by_number_and_the_others_are_read(form, line, words):
    text = form.columns[0]
    found = parse_lines(
        lines({"clip_id": "ok", text: "dark"})
        + f"\n{line.replace('TEXT', text)}\n"
        + lines({"clip_id": "last", text: "light"}),
        form,
    )
    assert {clip_id: texts[0] for clip_id, texts in found.rows.items()} == {
        "ok": "dark",
        "last": "light",
    }
    [fault] = found.faults
    assert fault.startswith("line 3: ")
    assert words.replace("TEXT", text) in fault
    assert len(fault) < 250
    fault.encode()  # a terminal can show it


def test_a_caption_may_lack_a_text_and_a_reaction_may_not():
    rows = '{"clip_id": "a", "scene": null, "face": " glad "}\r\n\n{"clip_id": "b", "face": ""}'
    assert parse_lines("\ufeff" + rows, CAPTIONS) == ({"a": ("", "glad"), "b": ("", "")}, [])
    assert parse_lines('{"clip_id": "a"}', CAPTIONS).faults == ["line 1: neither scene nor face"]
    for text in ("", '"reaction": ""', '"reaction": " "', '"reaction": null'):
        row = '{"clip_id": "a"' + (", " if text else "") + text + "}"
        [fault] = parse_lines(row, REACTIONS).faults
        assert "reaction" in fault


def test_a_separator_inside_a_text_is_text():
    text = '{"clip_id": "a", "reaction": " glad\u2028now\u0085here "}\n'
    assert parse_lines(text, REACTIONS).rows == {"a": ("glad\u2028now\u0085here",)}


def test_long_cells_are_not_quoted_in_full():
    name = "n" * 100_000
    for row in (f'{{"{name}": 1}}', f'{{"clip_id": "a", "scene": ["{name}"]}}'):
        [fault] = parse_lines(row, CAPTIONS).faults
        assert len(fault) < 250


names = st.text(min_size=1).filter(str.strip)


@given(st.dictionaries(names, st.tuples(st.text(), st.text()), max_size=5))
def test_what_json_writes_is_read_back_and_the_copy_says_the_same(rows):
    text = lines(*({"clip_id": k, "scene": s, "face": f} for k, (s, f) in rows.items()))
    found = parse_lines(text, CAPTIONS)
    assert found == ({k: (s.strip(), f.strip()) for k, (s, f) in rows.items()}, [])
    assert parse_lines(canonical_lines(found.rows, CAPTIONS).decode(), CAPTIONS) == found


def test_the_copy_of_reactions_is_spelled_as_it_always_was():
    # Written by hand: another spelling would change the key of every imported reaction.
    rows = {"b": ("é \u2028",), "a": ('"no"',)}
    assert canonical_lines(rows, REACTIONS).decode() == (
        '{"clip_id": "a", "reaction": "\\"no\\""}\n{"clip_id": "b", "reaction": "é \u2028"}\n'
    )


# -- the way in


@pytest.fixture(params=list(DOORS))
def door(request):
    take, column = DOORS[request.param]
    return request.param, take, column


@pytest.fixture
def empty(tmp_path):
    """A project without footage."""
    root = tmp_path / "p"
    root.mkdir()
    (root / "redub.toml").write_text('name = "p"\n')
    return root


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    root = make_project(tmp_path_factory.mktemp("imports") / "p", sources=1)
    ingest(open_project(root), scheduler=Scheduler("sync", 1))
    return root


def refusal(take, root, file):
    before = tree_digest(root)
    with pytest.raises(ConfigError) as refused:
        take(root, file)
    assert (refused.value.code, refused.value.exit_code) == ("E-CFG-TABLE", 4)
    assert tree_digest(root) == before
    assert not (root / FILE_NAME).exists()
    return refused.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no "),
        (b"\xef\xbb\xbf\n\n", "holds no "),
        (b'\n\n{"clip_id": "a", "TEXT": "\xff"}\n', "line 3 is not UTF-8"),
        (b'{"clip_id": "a", "TEXT": "x"}\n{}\n{"clip_id": "a", "TEXT": "y"}\n', "2 lines cannot"),
        (b'{"clip_id": "a", "TEXT": "x"}\n{}\n', "one line cannot be used: line 2: "),
        (b"{\n" * 14, "; and 4 more. Nothing was imported"),
    ],
)
def test_a_bad_file_changes_nothing(empty, tmp_path, door, content, words):
    _, take, column = door
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content.replace(b"TEXT", column.encode()))
    message = refusal(take, empty, file)
    assert words in message
    assert message.count("not JSON") in (0, 10)


def test_what_is_no_regular_file_is_a_sentence_and_is_not_waited_for(empty, tmp_path, door):
    _, take, _ = door
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "around").symlink_to("around")
    assert "is a folder; wanted a regular file" in refusal(take, empty, tmp_path)
    assert "is a pipe; wanted" in refusal(take, empty, tmp_path / "pipe")
    for name in ("null", "zero"):
        assert "is a device; wanted" in refusal(take, empty, Path("/dev") / name)
    assert "does not exist" in refusal(take, empty, tmp_path / "none.jsonl")
    assert "cannot be read: Not a dir" in refusal(take, empty, empty / "redub.toml" / "x")
    assert "cannot be read: Too many" in refusal(take, empty, tmp_path / "around")


def test_neither_order_nor_spelling_of_a_file_changes_the_entry(empty, tmp_path, door):
    kind, take, column = door
    rows = [{"clip_id": "b", column: "x"}, {"clip_id": "a", column: "ü"}]
    (tmp_path / "1").write_text(lines(*rows))
    first = take(empty, tmp_path / "1")
    assert first.strange == ("b", "a")
    copy = empty / "imports" / f"{kind}.jsonl"
    before = copy.read_bytes()
    again = [{column: f" {row[column]}\t", "clip_id": row["clip_id"]} for row in reversed(rows)]
    (tmp_path / "2").write_text("\ufeff\r\n" + "\r\n".join(map(json.dumps, again)))
    assert take(empty, tmp_path / "2").entry == first.entry
    assert take(empty, copy).entry == first.entry  # the copy itself can be imported
    assert copy.read_bytes() == before
    (tmp_path / "3").write_text(lines({"clip_id": "a", column: "ü"}))
    assert take(empty, tmp_path / "3").entry != first.entry


def test_a_file_about_other_footage_is_refused_and_one_known_clip_is_enough(
    ingested, tmp_path, door
):
    _, take, column = door
    known, *others = [clip.clip_id for clip in Store(open_project(ingested)).clips()]
    (ingested / FILE_NAME).unlink(missing_ok=True)
    strange = {"clip_id": "no_clip", column: "x"}
    (tmp_path / "strange").write_text(lines(strange))
    message = refusal(take, ingested, tmp_path / "strange")
    assert f"none of the project's {1 + len(others)} clips" in message
    assert "'no_clip'" in message
    assert f"'{known}'" in message
    (tmp_path / "some").write_text(lines(strange, {"clip_id": known, column: "y"}))
    done = take(ingested, tmp_path / "some")
    assert (done.rows, done.strange) == (2, ("no_clip",))
    assert (done.clips, done.without) == (1 + len(others), len(others))
