"""Records that stages write: their fields on disk, their digests, and what is refused."""

import hashlib
import json
from dataclasses import replace

import pytest

from redub.core.errors import IntegrityError
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import Controls, EmotionTarget
from redub.pipeline.dubbing.take import TakeHit, TakeLine, TakeRecord
from redub.pipeline.store.key_document import ConfigFields, KeyDocument, differing_fields
from redub.pipeline.store.parts import PartRecord
from redub.pipeline.store.quarantine import QuarantineRow
from redub.pipeline.store.runs.takes import TakeFiles, TakeIndex
from redub.pipeline.work.shards import ShardOutcome
from redub.training.checkpoint import Manifest
from redub.training.data.pack import PackedFeature, PackFile, PackRecord
from redub.training.run_files import RunRecord, VocoderRecord

TAKE = TakeRecord(
    run="authentic",
    index="b1",
    voice_requested=None,
    background="separate",
    context="dubbed",
    lines=(
        TakeLine(
            line=2,
            part="b",
            text="we should go",
            slot_s=(0.5, 1.75),
            voice="Ada",
            notes=Notes.parse(more=["sad:0.4"], films=["f"]),
            controls=Controls(rate=0.9, emotion=EmotionTarget(emotion="sad", intensity=1.0)),
            hits={"text": (TakeHit(clip_id="c1", score=0.75),), "face": ()},
            guessed=("zorblax",),
        ),
    ),
)
TAKE_STORED = {
    "schema": "redub.take/1",
    "run": "authentic",
    "index": "b1",
    "voice_requested": None,
    "background": "separate",
    "context": "dubbed",
    "lines": [
        {
            "line": 2,
            "part": "b",
            "text": "we should go",
            "slot_s": [0.5, 1.75],
            "voice": "Ada",
            "notes": {"more": [{"emotion": "sad", "weight": 0.4}], "films": ["f"]},
            "controls": {"rate": 0.9, "emotion": {"emotion": "sad", "intensity": 1.0}},
            "hits": {"text": [{"clip_id": "c1", "score": 0.75}], "face": []},
            "guessed": ["zorblax"],
        }
    ],
}
TAKES = TakeIndex(
    checkpoint="step_00000002 d1",
    keys={"mel": "k1"},
    vocoder="griffin_lim",
    lines=(TakeFiles(clip_id="c1", name="0000", wav="w1", npz="n1", inputs="i1"),),
    left_out={"c2": "no phonemes"},
)
TAKES_STORED = {
    "checkpoint": "step_00000002 d1",
    "keys": {"mel": "k1"},
    "vocoder": "griffin_lim",
    "lines": [{"clip_id": "c1", "name": "0000", "wav": "w1", "npz": "n1", "inputs": "i1"}],
    "left_out": {"c2": "no phonemes"},
}
HELD = {
    "clip_id": "c1",
    "stage": "extract",
    "feature": "",
    "source": "a.mp4",
    "input_digest": "m+t",
    "state": "held",
    "code": "E-DEC-MEM",
    "message": "too large",
    "attempts": 3,
    "signal": None,
    "peak_memory_mib": 99,
    "versions": "redub 0",
    "command": "redub bad show c1",
}
OUTCOME = ShardOutcome(
    shard="s1",
    parts={"mel": PartRecord("part-s1.parquet", 2, "d1", "s1")},
    quarantine=(QuarantineRow(**HELD),),
    clips=2,
    seconds={"decode": 0.5, "mel": 1.0},
)
OUTCOME_STORED = {
    "shard": "s1",
    "parts": {"mel": {"name": "part-s1.parquet", "rows": 2, "sha256": "d1", "shard": "s1"}},
    "quarantine": [HELD],
    "clips": 2,
    "seconds": {"decode": 0.5, "mel": 1.0},
}
KEY = KeyDocument(
    feature="mel",
    backend="builtin",
    version=1,
    settings=ConfigFields(config="MelConfig", fields={"audio": {"hop_samples": 160}, "a": [1, 2]}),
    media={"sample_rate_hz": 16000},
    weights={},
    licence="Apache-2.0",
    terms=(),
    libraries={"numpy": "2"},
    reads={"waveform": "k1"},
)
KEY_STORED = {
    "feature": "mel",
    "backend": "builtin",
    "version": 1,
    "settings": {"config": "MelConfig", "fields": {"audio": {"hop_samples": 160}, "a": [1, 2]}},
    "media": {"sample_rate_hz": 16000},
    "weights": {},
    "licence": "Apache-2.0",
    "terms": [],
    "libraries": {"numpy": "2"},
    "reads": {"waveform": "k1"},
}
RUN = RunRecord(
    system="authentic_dubber",
    model={"width": 8, "graph": "none"},
    training={"batching": {"lines_per_batch": 2}},
    widths={"mel": 80},
    keys={"mel": "k1", "overfit": "3"},
    scaler={"energy": {"mean": (0.5,), "deviation": (1.0,)}},
    trained_parameters=("a.weight",),
    started_from="",
    code_version="0.2.0",
)
RUN_STORED = {
    "system": "authentic_dubber",
    "model": {"width": 8, "graph": "none"},
    "training": {"batching": {"lines_per_batch": 2}},
    "widths": {"mel": 80},
    "keys": {"mel": "k1", "overfit": "3"},
    "scaler": {"energy": {"mean": [0.5], "deviation": [1.0]}},
    "trained_parameters": ["a.weight"],
    "started_from": "",
    "code_version": "0.2.0",
}
VOCODER = VocoderRecord(
    generator={"channels": 8},
    discriminators={"periods": [2, 3]},
    training={"seed": 0},
    keys={"mel": "k1"},
    code_version="0.2.0",
)
VOCODER_STORED = {
    "generator": {"channels": 8},
    "discriminators": {"periods": [2, 3]},
    "training": {"seed": 0},
    "keys": {"mel": "k1"},
    "code_version": "0.2.0",
}
MANIFEST = Manifest(format=2, step=7, validation_loss=None, sha256={"state.pt": "d1"})
MANIFEST_STORED = {"format": 2, "step": 7, "validation_loss": None, "sha256": {"state.pt": "d1"}}

STORED = {
    "take": (TAKE, TAKE_STORED),
    "takes": (TAKES, TAKES_STORED),
    "outcome": (OUTCOME, OUTCOME_STORED),
    "key": (KEY, KEY_STORED),
    "run": (RUN, RUN_STORED),
    "vocoder": (VOCODER, VOCODER_STORED),
    "manifest": (MANIFEST, MANIFEST_STORED),
}


@pytest.mark.parametrize("name", STORED)
def test_a_record_is_stored_under_these_fields_and_read_back_equal(name, tmp_path):
    record, stored = STORED[name]
    record.write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == stored
    assert type(record).read(tmp_path / "r.json") == record


@pytest.mark.parametrize("name", STORED)
def test_a_record_with_a_wrong_type_anywhere_names_the_file(name, tmp_path):
    record, stored = STORED[name]
    for field, value in stored.items():
        wrong = {**stored, field: 3.5 if isinstance(value, str | dict | list) else "no number"}
        if wrong[field] == value or value is None:
            continue
        with pytest.raises(IntegrityError, match=field) as raised:
            type(record).from_json(wrong, tmp_path / "r.json")
        assert str(tmp_path / "r.json") in raised.value.message


def test_the_digest_of_a_key_document_is_that_of_its_canonical_json():
    text = json.dumps(KEY_STORED, sort_keys=True, separators=(",", ":"))
    stored = json.dumps(KEY.to_json(), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(stored.encode()).hexdigest() == hashlib.sha256(text.encode()).hexdigest()


def test_differing_fields_of_key_documents_are_named_by_their_path():
    other = replace(
        KEY,
        version=2,
        settings=ConfigFields(config="MelConfig", fields={"audio": {"hop_samples": 80}}),
    )
    assert differing_fields(KEY.to_json(), other.to_json()) == [
        "settings.fields.a [1, 2]→None",
        "settings.fields.audio.hop_samples 160→80",
        "version 1→2",
    ]


def test_a_resumed_run_compares_everything_but_what_training_made():
    assert RUN.settings.keys() == {"system", "model", "training", "widths", "keys"}
    assert VOCODER.settings.keys() == {"generator", "discriminators", "training", "keys"}


PACK = PackRecord(
    pack="p1",
    keys={"mel": "k1"},
    features={"mel": PackedFeature(kind="frames", width=80, dtype="float16", moved=0.001)},
    modalities={"scene": "scene_emotion"},
    parts=(PackFile(name="parts/a.arrow", rows=3, size=9, sha256="d1"),),
    links=PackFile(name="p1/links.arrow", rows=3, size=9, sha256="d2"),
    splits={"train": 2},
    left_out={"test": {"c1": "no mel"}},
)


def test_a_pack_record_is_read_back_equal_with_its_digest_checked(tmp_path):
    path = tmp_path / "pack.json"
    PACK.commit(path)
    assert PackRecord.read(path) == PACK
    stored = json.loads(path.read_text())
    digest = stored.pop("digest")
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert stored["features"]["mel"] == {
        "kind": "frames",
        "width": 80,
        "dtype": "float16",
        "moved": 0.001,
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"splits": {"train": 3}}, "E-INT-PACK"),
        ({"format": 99}, "E-INT-NEWER"),
        ({"digest": ""}, "E-INT-PACK"),
    ],
)
def test_a_changed_pack_record_is_refused(tmp_path, change, code):
    path = tmp_path / "pack.json"
    PACK.commit(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(IntegrityError) as raised:
        PackRecord.read(path)
    assert raised.value.code == code
    assert str(path) in raised.value.message
