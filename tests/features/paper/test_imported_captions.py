import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.imported_caption import (
    Captions,
    ImportedCaptionConfig,
    ImportedFaceCaption,
    ImportedSceneCaption,
    parse_captions,
)
from redub.pipeline.captions import PLACE, import_captions
from redub.pipeline.executor import Scheduler
from redub.pipeline.extract import extract
from redub.pipeline.ingest import ingest
from redub.pipeline.project import open_project
from redub.pipeline.store import Store
from redub.pipeline.weights import FILE_NAME, read_ledger
from tests.features.drawn_faces import media_of
from tests.features.paper.ledgers import CPU, folder_of
from tests.pipeline.films import make_project, tree_digest

SYNC = Scheduler("sync", 1)
CLIP = "film/scene/0"  # the id that media_of gives


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def extractors(folder):
    weights = {"captions": folder_of(folder, "captions")}
    config = ImportedCaptionConfig()
    return [kind(config, weights, CPU) for kind in (ImportedSceneCaption, ImportedFaceCaption)]


# -- the file


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"clip_id": "a", "scene": "x", "mood": "y"}', "unknown column 'mood'"),
        ('{"clip_id": "a", "scenes": "x"}', "did you mean 'scene'"),
        ('{"scene": "x"}', "no clip_id"),
        ('{"clip_id": "", "scene": "x"}', "no clip_id"),
        ('{"clip_id": "a"}', "neither scene nor face"),
        ('{"clip_id": 3, "scene": "x"}', "'clip_id' is 3"),
        ('{"clip_id": "a", "scene": ["x"]}', "'scene' is ['x']"),
        ('{"clip_id": null, "scene": "x"}', "'clip_id' is None"),
        ('{"clip_id": "a", "clip_id": "b", "scene": "x"}', "comes twice"),
        ('{"clip_id": "ok", "scene": "again"}', "'ok' has a row already, in line 1"),
    ],
)
def test_a_faulty_line_is_named_by_number(line, words):
    found = parse_captions(f'{{"clip_id": "ok", "scene": "dark"}}\n\n{line}\n')
    assert found.captions == {"ok": Captions("dark", "")}
    [fault] = found.faults
    assert fault.startswith("line 3: ")
    assert words in fault


def test_blank_lines_line_ends_and_a_mark_are_no_faults():
    rows = ['{"clip_id": "a", "face": " glad "}', "", '{"clip_id": "b", "scene": null, "face": ""}']
    text = "\ufeff" + "\r\n".join(rows)
    assert parse_captions(text) == ({"a": Captions("", "glad"), "b": Captions("", "")}, [])


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.text(), st.text()), max_size=5))
def test_what_json_writes_is_read_back(rows):
    text = lines(*({"clip_id": k, "scene": s, "face": f} for k, (s, f) in rows.items()))
    found = parse_captions(text)
    assert found.faults == []
    assert found.captions == {k: Captions(s.strip(), f.strip()) for k, (s, f) in rows.items()}


# -- the features


def test_each_feature_takes_its_column(tmp_path):
    (tmp_path / "captions.jsonl").write_text(
        lines({"clip_id": CLIP, "scene": "cold blue", "face": "smiles"})
    )
    assert [e.extract(media_of(None)) for e in extractors(tmp_path)] == ["cold blue", "smiles"]


def test_no_row_and_an_empty_text_are_nulls_with_reasons(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text(lines({"clip_id": CLIP, "face": "smiles"}))
    scene, face = extractors(tmp_path)
    with pytest.raises(FeatureAbsent, match=r"E-FEAT-NOCAPTION: .* no scene text"):
        scene.extract(media_of(None))
    assert face.extract(media_of(None)) == "smiles"
    path.write_text(lines({"clip_id": "another", "face": "smiles"}))
    with pytest.raises(FeatureAbsent, match=r"E-FEAT-NOCAPTION: .* no row"):
        extractors(tmp_path)[0].extract(media_of(None))


def test_a_faulty_recorded_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"clip_id": "x"}\n')
    with pytest.raises(ModelRefusedError, match=r"a\.jsonl, line 1: neither"):
        extractors(tmp_path)[0].extract(media_of(None))
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(lines({"clip_id": "x", "scene": name}))
    with pytest.raises(ModelRefusedError, match="another file"):
        extractors(tmp_path)[0].extract(media_of(None))
    (tmp_path / "a.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ModelRefusedError, match="UTF-8"):
        extractors(tmp_path)[0].extract(media_of(None))


# -- the import


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    toml = '[features.scene_caption]\nby = "import"\n[features.face_caption]\nby = "import"\n'
    return make_project(tmp_path_factory.mktemp("captions") / "p", sources=1, toml=toml)


def ids_of(root):
    ingest(open_project(root), scheduler=SYNC)
    return [clip.clip_id for clip in Store(open_project(root)).clips()]


def test_captions_become_features_and_new_ones_replace_them(project, tmp_path):
    first, second = ids_of(project)
    file = tmp_path / "mine.jsonl"
    file.write_text(
        lines({"clip_id": first, "scene": "warm", "face": ""}, {"clip_id": "who", "scene": "x"})
    )
    done = import_captions(project, file)
    assert (done.rows, done.scenes, done.faces) == (2, 2, 0)
    assert (done.clips, done.without, done.strange) == (2, 1, ("who",))
    assert (project / PLACE).read_bytes() == file.read_bytes()
    assert list(read_ledger(project).entries["captions"].files) == ["captions.jsonl"]

    features = ["scene_caption", "face_caption"]
    summary = extract(open_project(project), scheduler=SYNC, features=features)
    store = Store(open_project(project))
    assert store.read("scene_caption") == {first: "warm"}
    assert store.read("face_caption") == {}
    assert (summary.rows, summary.quarantined) == (4, 0)
    reasons = dict(store.live_features("scene_caption").select("clip_id", "why_not").iter_rows())
    assert reasons[second].startswith("E-FEAT-NOCAPTION")

    file.write_text(lines({"clip_id": second, "scene": "cold", "face": "weeps"}))
    import_captions(project, file)
    extract(open_project(project), scheduler=SYNC, features=features)
    store = Store(open_project(project))
    assert store.read("scene_caption") == {second: "cold"}
    assert store.read("face_caption") == {second: "weeps"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no captions"),
        (b'{"clip_id": "a", "scene": "\xff"}\n', "line 1 is not UTF-8"),
        (b'{"clip_id": "a", "scene": "x"}\n{}\n{"clip_id": "a", "face": "y"}\n', "2 lines cannot"),
        (b"{\n" * 14, "and 4 more"),
    ],
)
def test_a_bad_file_changes_nothing(tmp_path, content, words):
    root = tmp_path / "p"
    root.mkdir()
    (root / "redub.toml").write_text('name = "p"\n')
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    before = tree_digest(root)
    with pytest.raises(ConfigError, match="E-CFG-CAPTIONS") as refusal:
        import_captions(root, file)
    assert words in str(refusal.value)
    assert tree_digest(root) == before
    assert not (root / FILE_NAME).exists()


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        import_captions(tmp_path, tmp_path / "none.jsonl")


def test_the_imported_file_itself_can_be_imported_again(tmp_path):
    root = tmp_path / "p"
    root.mkdir()
    (root / "redub.toml").write_text('name = "p"\n')
    (tmp_path / "c.jsonl").write_text(lines({"clip_id": "a", "scene": "x"}))
    first = import_captions(root, tmp_path / "c.jsonl")
    assert import_captions(root, first.path) == first
    assert (first.clips, first.strange) == (0, ("a",))


def test_half_a_character_and_endless_brackets_are_faults_of_their_line():
    rows = [
        '{"clip_id": "a", "scene": "\\ud83d broken"}',
        "[" * 9000,
        '{"clip_id": "b", "face": "calm"}',
    ]
    found = parse_captions("\n".join(rows))
    assert list(found.captions) == ["b"]
    assert [fault.split(":")[0] for fault in found.faults] == ["line 1", "line 2"]
    assert "half a character" in found.faults[0]
