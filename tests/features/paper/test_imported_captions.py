import json

import pytest

from redub.core.errors import FeatureAbsent, ModelRefusedError
from redub.features.picture.imported_caption import (
    ImportedCaptionConfig,
    ImportedFaceCaption,
    ImportedSceneCaption,
)
from redub.pipeline.imports.captions import import_captions
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights, read_ledger
from redub.pipeline.work.executor import Scheduler
from tests.features.drawn_faces import media_of
from tests.features.paper.ledgers import CPU, folder_of
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)
CLIP = "film/scene/0"  # the id that media_of gives


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def extractors(folder):
    weights = {"captions": folder_of(folder, "captions")}
    config = ImportedCaptionConfig()
    return [kind(config, weights, CPU) for kind in (ImportedSceneCaption, ImportedFaceCaption)]


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
    toml = (
        '[features.scene_caption]\nbackend = "import"\n'
        '[features.face_caption]\nbackend = "import"\n'
    )
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
    assert (done.rows, done.texts) == (2, {"scene": 2, "face": 0})
    assert (done.clips, done.without, done.strange) == (2, 1, ("who",))
    assert read_ledger(project).entries["captions"] == done.entry
    assert list(done.entry.files) == ["captions.jsonl"]

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


def test_the_licence_is_in_the_key_and_the_place_is_not(project, tmp_path):
    # docs/extractors/README.md says so.
    (tmp_path / "captions.jsonl").write_text(lines({"clip_id": ids_of(project)[0], "scene": "x"}))
    copy = import_captions(project, tmp_path / "captions.jsonl").path

    def keys():
        by_name = Store(open_project(project)).keys.by_name
        return {name: by_name[name].key for name in ("scene_caption", "scene_emotion", "mel")}

    before = keys()
    (tmp_path / "captions.jsonl").write_bytes(copy.read_bytes())
    add_weights(project, "captions", tmp_path / "captions.jsonl")
    assert keys() == before
    add_weights(project, "captions", copy, licence="CC0-1.0")
    after = keys()
    assert {name for name in before if before[name] != after[name]} == {
        "scene_caption",
        "scene_emotion",
    }
