"""Footage whose clips lack words, sound, speech or a face: every stage ends as documented."""

import io
import json
import re
import signal
import sys

import numpy as np
import polars as pl
import pytest

from redub.cli import main
from redub.core.columns import Column
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.ledger import check_ledger, ledger
from redub.pipeline.store.packs.build import open_pack
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.pipeline.store.packs.parts import FeatureSource, Stored, _packed
from redub.pipeline.store.project import init_project, open_project
from redub.pipeline.store.runs.evaluations import last_evaluation
from redub.pipeline.store.runs.folders import trained_on
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.schemas import FeatureRow, feature_table
from redub.pipeline.store.tables import Store
from tests.pipeline.gaps import write_film

OK, QUARANTINED = 0, 3

# -- every feature, with nulls at every place of a part

PLACES = {
    "none": (),
    "first": (0,),
    "middle": (2,),
    "last": (4,),
    "all but one": (0, 1, 3, 4),
    "all": (0, 1, 2, 3, 4),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A project without footage: every feature has its schema."""
    root = tmp_path_factory.mktemp("empty")
    init_project(root)
    return Store(open_project(root))


def values_of(schema, nulls, seed):
    rng = np.random.default_rng(seed)
    values = []
    for cell in range(5):
        if schema.kind == "text":
            value = f"line {cell}"
        else:
            shape = (schema.width,) if schema.kind == "vector" else (cell, schema.width)
            value = rng.integers(1, 100, shape).astype(schema.dtype)
        values.append(None if cell in nulls else value)
    return values


def written(store, name, values):
    """One committed part of a feature; its name."""
    rows = [FeatureRow(f"c{n}", "d", v, "" if v is not None else "E-X: why", 0.0)
            for n, v in enumerate(values)]  # fmt: skip
    parts = store.feature_parts(name)
    schema = store.keys.by_name[name].schema
    part = f"part-{len(parts.parts())}.parquet"
    parts.commit([parts.write_part(part, feature_table(schema, rows), shard=part)])
    return part


@pytest.mark.parametrize("nulls", PLACES)
def test_every_feature_is_read_back_whatever_is_null(empty, nulls):
    names = list(empty.keys.usable)
    kinds = {(k.kind, k.dtype) for k in (empty.keys.by_name[n].schema for n in names)}
    assert {kind for kind, _ in kinds} == {"vector", "frames", "text"}
    assert {dtype for _, dtype in kinds} >= {"float32", "int16", "int32", "uint8"}
    for number, name in enumerate(names):
        values = values_of(empty.keys.by_name[name].schema, PLACES[nulls], number)
        part = written(empty, name, values)
        wanted = {f"c{n}": value for n, value in enumerate(values) if value is not None}
        for some in ({f"c{n}" for n in range(5)}, {"c1", "c2"}, set()):
            found = empty.read_part_values(name, part, some)
            assert found.keys() == wanted.keys() & some, name
            for clip_id, value in found.items():
                np.testing.assert_array_equal(value, wanted[clip_id], strict=True)


@pytest.mark.parametrize("nulls", PLACES)
def test_every_feature_is_packed_whatever_is_null(empty, nulls, tmp_path):
    names = [n for n in empty.keys.usable if empty.keys.by_name[n].schema.kind != "text"]
    for number, name in enumerate(names):
        schema = empty.keys.by_name[name].schema
        values = values_of(schema, PLACES[nulls], number)
        part = written(empty, name, values)
        rows = [(f"c{n}", value is not None, part) for n, value in enumerate(values)]
        live = pl.DataFrame(rows, schema=["clip_id", "valid", "part"], orient="row")
        dtype = "float16" if (schema.kind, schema.dtype) == ("frames", "float32") else schema.dtype
        kind = Stored(kind=schema.kind, width=schema.width, dtype=dtype)
        source = FeatureSource(empty, {name: kind}, {name: live})
        ids = ["c3", "c0", "gone", "c4", "c2", "c1"]
        column, _ = _packed(name, kind, ids, source.values(name, ids))
        cells = Column([column.slice(0, 3), column.slice(3)])
        for cell, clip_id in enumerate(ids):
            value = None if clip_id == "gone" else values[int(clip_id[1:])]
            found = cells.value(cell)
            assert (found is None) == (value is None), name
            if value is not None:
                np.testing.assert_array_equal(found, value.astype(dtype), strict=True)


# -- a whole project

FILM = {
    "a_bare": {"lines": ["nothing"], "has_subtitles": False},
    "b": {"lines": ["nothing", "words", "face", "nothing", "face"]},
    "c_mute": {"lines": ["nothing"], "has_sound": False},
    "d": {"lines": ["nothing", "speech", "speech", "nothing"]},
    "e_mute": {"lines": ["nothing"], "has_sound": False},
    "f": {"lines": ["nothing", "words speech face", "nothing"]},
    "g": {"lines": ["face"]},
    "h_mute": {"lines": ["nothing"], "has_sound": False},
    "v": {"lines": ["nothing"]},
}
SPLITS = {"f": "test", "g": "test", "h_mute": "test", "v": "validation"}
SHARD = 3
TOML = f"""
[store]
shard_clips = {SHARD}
[index]
k = 2
[train]
max_steps = 2
threads = 1
samples = 0
[evaluate]
bootstrap = 20
"""
NEEDS = {
    "words": ("phonemes", "text_emotion", "global_text", "durations"),
    "sound": ("waveform", "mel", "f0", "energy", "durations", "audio_emotion", "speaker"),
    "speech": ("f0", "durations", "audio_emotion", "speaker"),
    "face": ("face_track", "face_emotion", "lips", "mouth_crop", "global_face", "local_face"),
}
"""Features that have no value where this is lacking; of those named here, no others lack one."""


def lacks_of(film):
    """Clip id to what the clip lacks, in the order of the clip table: the plan of the film."""
    found = {}
    for name, source in film.items():
        words = [] if source.get("has_subtitles", True) else ["words"]
        words += [] if source.get("has_sound", True) else ["sound"]
        lines = source["lines"] if source.get("has_subtitles", True) else source["lines"][:1]
        for number, line in enumerate(lines, start=1):
            own = {*words, *line.split()} - {"nothing"}
            found[f"{name}-{number:04d}"] = own
    return found


def typed(*words):
    """A command line in this process: its exit code, and all it said."""
    said, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["redub", *map(str, words)])
        patch.setattr(sys, "stdout", said)
        patch.setattr(sys, "stderr", said)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
    assert "Traceback" not in said.getvalue()
    return ended.value.code or 0, said.getvalue()


def walk(root, *more):
    return typed("run", "-C", root, "--scheduler", "sync", *more)


@pytest.fixture(scope="module")
def gapped(tmp_path_factory):
    root = write_film(tmp_path_factory.mktemp("gaps"), FILM, SPLITS, toml=TOML)
    code, said = walk(root)
    assert code == OK, said
    return root, said


@pytest.fixture(scope="module")
def store(gapped):
    return Store(open_project(gapped[0]))


def test_the_film_lacks_everything_at_every_place_of_a_part():
    lacks = list(lacks_of(FILM).values())
    for what in NEEDS:
        places = {number % SHARD for number, own in enumerate(lacks) if what in own}
        assert places == {0, 1, 2}, what


def test_every_clip_has_a_value_or_the_reason_that_it_lacks(store):
    lacks = lacks_of(FILM)
    codes = {"words": "E-TEXT-NONE", "sound": "E-IN-NOAUDIO", "face": "E-FEAT-NOFACE"}
    codes["speech"] = "E-FEAT-SILENT"
    for name in {feature for features in NEEDS.values() for feature in features}:
        null = {i for i, own in lacks.items() if any(name in NEEDS[what] for what in own)}
        assert set(store.read(name)) == set(lacks) - null, name
        why = store.why_null(name)
        assert set(why) == null, name
        for clip_id, reason in why.items():
            own = [codes[what] for what in lacks[clip_id] if name in NEEDS[what]]
            assert any(code in reason for code in own), (name, clip_id, reason)


def test_nothing_is_lost(store):
    names = store.keys.usable
    check_ledger(store, names)
    for line in ledger(store, names):
        assert line.listed == len(lacks_of(FILM)) == line.committed + line.quarantined
        assert (line.pending, line.quarantined) == (0, 0)


def test_a_clip_queries_with_the_vectors_it_has(gapped, store):
    from redub.pipeline.store.index.builds import open_index

    found = neighbours_of(store, open_index(open_project(gapped[0])))
    for clip_id, own in lacks_of(FILM).items():
        asked = {"scene"} | ({"face"} - {w for w in own if w == "face"})
        asked |= set() if "words" in own else {"text"}
        assert {m for m, hits in found[clip_id].items() if hits} == asked, clip_id
        for hits in found[clip_id].values():
            assert not {hit for hit, _ in hits} & {
                other for other, lost in lacks_of(FILM).items() if lost & {"sound", "speech"}
            }


def spoken_in(split):
    """Clips with words, and those of them with a recording to learn from or to be measured by."""
    chosen = {i: own for i, own in lacks_of(FILM).items() if split_of(i) == split}
    speakable = {i for i, own in chosen.items() if "words" not in own}
    return speakable, {i for i in speakable if not chosen[i] & {"sound", "speech"}}


def split_of(clip_id):
    return SPLITS.get(clip_id.rpartition("-")[0], "train")


def test_training_takes_every_line_that_is_whole_and_names_the_others(gapped):
    root, said = gapped
    project = open_project(root)
    train, validation = spoken_in("train")[1], spoken_in("validation")[1]
    assert trained_on(project, "authentic") == train | validation
    of_training = {i for i in lacks_of(FILM) if split_of(i) == "train"}
    assert f"trains on {len(train)} of {len(of_training)} utterances: " in said
    pack = open_pack(project)
    assert {i for of in pack.record.left_out.values() for i in of} == set(lacks_of(FILM)) - {
        *train, *validation, *spoken_in("test")[1]
    }  # fmt: skip
    code, words = typed("pack", "-C", root)
    assert code == OK
    assert "E-IN-NOAUDIO" in words
    losses = [
        json.loads(line)["loss"]
        for line in (root / "runs" / "authentic" / "metrics.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]
    assert losses
    assert np.isfinite(losses).all()


def test_packed_lines_lack_what_their_clips_lack(gapped):
    project = open_project(gapped[0])
    pack, lacks = open_pack(project), lacks_of(FILM)
    made = {line.clip_id: line for line in UtteranceBuilder(project).recorded("train").lines}
    lines = list(pack.lines("train"))
    assert {line.clip_id for line in lines} == made.keys()
    for line in lines:
        has_face = "face" not in lacks[line.clip_id]
        assert (line.lips is not None) == has_face
        assert ("face" in line.vectors) == has_face
        assert line.vectors.keys() == made[line.clip_id].vectors.keys()
        for modality, vector in line.vectors.items():
            np.testing.assert_array_equal(vector, made[line.clip_id].vectors[modality])
        np.testing.assert_allclose(line.mel, made[line.clip_id].mel, atol=0.01)


def test_synthesis_speaks_every_line_with_words_and_names_the_others(gapped):
    root, said = gapped
    speakable, _ = spoken_in("test")
    assert set(read_samples(open_project(root), "authentic", "test")) == speakable
    assert re.search(r"6 synthesize: .*lines not spoken: 1 \(1 × no phonemes \(E-TEXT-NONE", said)
    code, words = typed("synthesize", "-C", root)
    assert code == OK
    assert "lines not spoken: 1" in words


def test_evaluation_measures_every_recorded_take_and_names_the_others(gapped):
    root, said = gapped
    found = last_evaluation(open_project(root))
    _, measured = spoken_in("test")
    assert {row.clip_id for row in found.lines if row.system == "authentic"} == measured
    left_out = {i for i in lacks_of(FILM) if split_of(i) == "test"} - measured
    assert found.left_out.keys() == left_out
    assert "E-IN-NOAUDIO" in found.left_out["h_mute-0001"].message
    assert "E-FEAT-SILENT" in found.left_out["f-0002"].message
    assert {absent.code for absent in found.left_out.values()} <= {
        "E-EVAL-FEATURE",
        "E-EVAL-UNSPOKEN",
    }
    assert f"lines of split 'test' not measured: {len(left_out)} (" in said
    assert (root / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "code", "left_out"),
    [
        ("f", QUARANTINED, ("line 2 was not dubbed: E-TEXT-NONE",)),
        ("g", OK, ()),
        ("h_mute", OK, ()),
    ],
)
def test_dubbing_speaks_what_can_be_spoken_and_names_the_others(
    gapped, tmp_path, name, code, left_out
):
    root, _ = gapped
    video = root / "footage" / f"{name}.mp4"
    script = video.with_suffix(".srt")
    output = tmp_path / "out.mp4"
    got, said = typed("dub", video, "--script", script, "-o", output, "-C", root)
    assert got == code, said
    for words in left_out:
        assert words in said
    count = sum("words" not in own for i, own in lacks_of(FILM).items() if i.startswith(f"{name}-"))
    assert f"{count} lines dubbed" in said
    assert output.is_file()


@pytest.mark.parametrize("clip_id", ["a_bare-0001", "f-0002", "h_mute-0001"])
def test_a_clip_that_lacks_something_can_be_looked_at(gapped, tmp_path, clip_id):
    root, _ = gapped
    page = tmp_path / "page.html"
    for words in (
        ("index", "query", clip_id),
        ("index", "excluded", clip_id),
        ("index", "explain", clip_id, "-o", page),
        ("cache", "why", clip_id),
    ):
        code, said = typed(*words, "-C", root)
        assert code == OK, said


@pytest.mark.parametrize(
    "words",
    [("status",), ("index", "stats"), ("index", "audit"), ("index", "map"), ("index", "verify"),
     ("report", "--faces"), ("cache", "verify"), ("runs", "ls"), ("run", "--scheduler", "sync")],
    ids=" ".join,
)  # fmt: skip
def test_what_looks_at_the_whole_project_ends_well(gapped, words):
    code, said = typed(*words, "-C", gapped[0])
    assert code in (OK, QUARANTINED), said


# -- projects without, or almost without, usable clips

THIN = {
    "no words": ({"a": {"lines": ["words", "words"]}}, "no line can be trained on: 2 have no dur"),
    "no sound": (
        {"a": {"lines": ["nothing", "nothing"], "has_sound": False}},
        r"none of 2 training clips has an audio emotion vector \(2 × E-IN-NOAUDIO",
    ),
    "one whole clip": (
        {"a": {"lines": ["words speech", "nothing", "speech"]}},
        "no line can be trained on: .*no other line of their voice",
    ),
}


@pytest.mark.parametrize("name", THIN)
def test_a_project_that_has_nothing_to_train_on_says_why(tmp_path, name):
    film, sentence = THIN[name]
    root = write_film(tmp_path, film, {}, toml=TOML)
    code, said = walk(root)
    assert code == OK, said
    assert re.search(rf"stopped here: .*{sentence}", said), said
    store = Store(open_project(root))
    check_ledger(store, store.keys.usable)


def test_a_project_without_a_face_is_trained_spoken_and_measured(tmp_path):
    film = {name: {"lines": ["face", "face"]} for name in ("a", "b")}
    root = write_film(tmp_path, film, {"b": "test"}, toml=TOML)
    code, said = walk(root)
    assert code == OK, said
    project = open_project(root)
    assert trained_on(project, "authentic") == {"a-0001", "a-0002"}
    assert set(read_samples(project, "authentic", "test")) == {"b-0001", "b-0002"}
    assert last_evaluation(project).left_out == {}
