"""The record of an index build: its bytes, its name, and what it says about changed settings."""

import hashlib
import json
from dataclasses import replace

import pytest

from redub.core.errors import IntegrityError
from redub.pipeline.store.index.build_record import (
    BuildDocument,
    BuildRecord,
    BuiltWith,
    current_build,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import IndexConfig, ProjectConfig

FEATURES = {
    "audio_emotion": "a1",
    "face_emotion": "f1",
    "scene_emotion": "s1",
    "text_emotion": "t1",
}
DOCUMENT = """{"clips":"c0ffee","config":{"audio_transform":"speaker_zscore","backend":"auto",
"face_transform":"identity","metric":"cosine","recall_floor":0.99,"scene_transform":"identity",
"seed":0,"segment_rows":1000000,"text_transform":"identity"},"features":{"audio_emotion":"a1",
"face_emotion":"f1","scene_emotion":"s1","text_emotion":"t1"},"version":3}""".replace("\n", "")
"""What redub hashes into the name of this build, written by hand."""

RECORD = BuildRecord(
    number=1,
    build="b1",
    document=BuildDocument(
        version=3,
        features=FEATURES,
        clips="c0ffee",
        config=BuiltWith.of(IndexConfig()),
    ),
    files={"library/b1": {"audio.npy": "d1"}},
    segments={"scene": ("s-1", "s-2"), "face": ()},
    rows={"scene": 2, "face": 0},
    recall={"scene": 0.995, "face": None},
    spaces={"scene": "e1"},
)


def test_the_name_of_a_build_is_the_digest_of_its_document():
    assert RECORD.document.build == hashlib.sha256(DOCUMENT.encode()).hexdigest()[:12]


def test_a_committed_record_is_read_back_equal_and_its_fields_are_where_they_were(tmp_path):
    project = Project(tmp_path, ProjectConfig())
    RECORD.commit(project)
    assert current_build(project) == RECORD
    stored = json.loads((tmp_path / "index" / "commits" / "00000001.json").read_text())
    digest = stored.pop("digest")
    assert stored == {
        "number": 1,
        "build": "b1",
        "document": json.loads(DOCUMENT),
        "files": {"library/b1": {"audio.npy": "d1"}},
        "segments": {"scene": ["s-1", "s-2"], "face": []},
        "rows": {"scene": 2, "face": 0},
        "recall": {"scene": 0.995, "face": None},
        "spaces": {"scene": "e1"},
    }
    canonical = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("change", ["value", "no digest", "list"])
def test_a_record_with_other_bytes_is_refused(tmp_path, change):
    project = Project(tmp_path, ProjectConfig())
    RECORD.commit(project)
    path = tmp_path / "index" / "commits" / "00000001.json"
    stored = json.loads(path.read_text())
    if change == "value":
        stored["rows"]["scene"] = 3
    else:
        del stored["digest"]
    path.write_text(json.dumps([stored] if change == "list" else stored))
    with pytest.raises(IntegrityError, match="redub index build") as raised:
        current_build(project)
    assert str(path) in raised.value.message


def test_changed_settings_are_named_with_both_values():
    now = replace(IndexConfig(), metric="dot", scene_feature="global_scene", k=5)
    assert RECORD.changed_settings(now) == [
        "index.metric cosine → dot",
        "index.scene_feature scene_emotion → global_scene",
    ]
    assert RECORD.changed_settings(replace(IndexConfig(), k=5)) == []
