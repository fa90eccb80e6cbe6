"""Scene and face measured from the picture instead of said in words: one setting each.

The quick demo is asked by pictures: its index, neighbours, packs, runs and pages all follow the
setting, and what was made with captions is refused by name.
"""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError
from redub.core.types import MODALITIES
from redub.model.registry import SYSTEMS
from redub.pipeline.dubbing.session import dub
from redub.pipeline.reports.index.audit import audit_index
from redub.pipeline.reports.index.audit_effects import Look
from redub.pipeline.reports.index.casting_sheet import casting_sheet
from redub.pipeline.reports.index.emotion_map import emotion_map
from redub.pipeline.reports.index.precision import emotion_precision
from redub.pipeline.reports.index.stats import index_stats
from redub.pipeline.reports.plan import plan, plan_footage
from redub.pipeline.reports.status import project_status
from redub.pipeline.reports.why import explain_rows
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.stages.synthesize import synthesize
from redub.pipeline.stages.train import RunRequest, train_run
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import is_fresh, open_index
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.packs.build import open_pack
from redub.pipeline.store.packs.lines import UtteranceBuilder, features_read
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.folders import export_run, run_folder
from redub.pipeline.store.settings import (
    MODALITY_FEATURES,
    IndexConfig,
    feature_of,
    features_among,
    parse_config,
)
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.speaking import check_features, open_dubber
from redub.pipeline.work.train_plan import next_run
from redub.training.data.columns import columns_of
from redub.training.pretrained import read_weights
from tests.pipeline.films import tree_digest
from tests.pipeline.store.test_pack import assert_same_line, in_full

PICTURE = {"scene_feature": "global_scene", "face_feature": "global_face"}


@dataclass(frozen=True)
class NoSettings:
    """In place of a model's settings and widths, where those are not looked at."""


def asked_by(project, **settings):
    index = replace(project.config.index, **settings)
    return replace(project, config=replace(project.config, index=index))


def found_by(project):
    """Clip id → modality → (hit, score) as they are stored, plain dicts."""
    found = neighbours_of(Store(project), open_index(project))
    return {clip_id: dict(hits) for clip_id, hits in found.items()}


@pytest.fixture(scope="module")
def captioned(walked, tmp_path_factory):
    """The walked project as it is: scene and face by their captions."""
    root = tmp_path_factory.mktemp("pictures") / "demo"
    shutil.copytree(walked[0], root, ignore=shutil.ignore_patterns("report.html", "dubbed"))
    return open_project(root)


@pytest.fixture(scope="module")
def before(captioned):
    return found_by(captioned)


@pytest.fixture(scope="module")
def pictured(captioned, before):
    """The same folder, its index built and asked by pictures."""
    project = asked_by(captioned, **PICTURE)
    with pytest.raises(ConfigError, match=r"scene_emotion → global_scene; .*→ global_face"):
        open_index(project)
    assert build_index(project).fresh
    retrieve(project)
    return project


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("modality", ["scene", "face"])
def test_neighbours_are_those_of_an_exact_search_over_the_named_feature(pictured, modality):
    feature = PICTURE[f"{modality}_feature"]
    values = {c: np.asarray(v, np.float64) for c, v in Store(pictured).read(feature).items()}
    config, found = pictured.config.index, found_by(pictured)
    clips = {clip.clip_id: clip for clip in Store(pictured).clips()}
    library = [c for c in open_index(pictured).clips if c.clip_id in values]
    checked = 0
    for clip_id, clip in clips.items():
        if clip_id not in values:
            assert modality not in found.get(clip_id, {})
            continue
        may = [c.clip_id for c in library if (c.film, c.scene) != (clip.film, clip.scene)]
        scores = {other: cosine(values[clip_id], values[other]) for other in may}
        best = sorted(scores, key=lambda other: -scores[other])[: config.k]
        hits = found[clip_id][modality]
        np.testing.assert_allclose([s for _, s in hits], [scores[b] for b in best], atol=1e-5)
        assert all(scores[hit] == pytest.approx(score, abs=1e-5) for hit, score in hits)
        checked += len(hits)
    assert checked > 40


def test_only_what_was_set_answers_otherwise(pictured, before):
    after = found_by(pictured)
    assert {c: hits.get("text") for c, hits in after.items()} == {
        c: hits.get("text") for c, hits in before.items()
    }
    for modality in ("scene", "face"):
        assert any(after[c].get(modality) != hits.get(modality) for c, hits in before.items())


def test_one_setting_leaves_the_other_modality_as_it_is(pictured):
    config = replace(pictured.config.index, face_feature="face_emotion")
    assert feature_of(config) == {
        "scene": "global_scene",
        "face": "face_emotion",
        "text": "text_emotion",
        "audio": "audio_emotion",
    }
    assert feature_of(IndexConfig()) == {m: f"{m}_emotion" for m in (*MODALITIES, "audio")}
    assert feature_of(parse_config('[index]\nface_feature = "global_face"').index) == {
        **feature_of(IndexConfig()),
        "face": "global_face",
    }


@pytest.mark.parametrize(
    ("setting", "named", "hint"),
    [
        ("scene_feature", "global_scenes", "did you mean 'global_scene'"),
        ("face_feature", "face_emotions", "did you mean 'face_emotion'"),
        ("scene_feature", "global_face", "did you mean 'global_scene'"),  # not of this modality
        ("face_feature", "i3d", "known: face_emotion, global_face"),
    ],
)
def test_an_unknown_feature_is_refused_with_the_nearest(setting, named, hint):
    with pytest.raises(ConfigError, match=hint) as refusal:
        parse_config(f'[index]\n{setting} = "{named}"')
    assert (refusal.value.code, refusal.value.exit_code) == ("E-CFG-NAME", 4)
    assert f"index.{setting}" in refusal.value.message


def test_a_system_reads_the_named_features_in_place_of_those_it_declares(pictured, captioned):
    for system, declared in ((name, spec.reads) for name, spec in SYSTEMS.items()):
        assert features_read(captioned.config, system) == declared
        read = features_read(pictured.config, system)
        assert len(read) == len(set(read))
        assert set(declared) - set(read) == {"scene_emotion", "face_emotion"}
        named = {"global_scene", "global_face"}  # some read them as context already
        assert set(read) == (set(declared) - {"scene_emotion", "face_emotion"}) | named
    assert features_among(SYSTEMS["authentic_dubber"].reads)["scene"] == "scene_emotion"
    assert features_among(features_read(pictured.config))["face"] == "global_face"
    # A system that reads the picture feature for another reason was still trained on captions.
    both = ("scene_emotion", "global_scene")
    assert features_among(both) == {"scene": "scene_emotion"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_packed_lines_are_the_lines_of_the_store_and_hold_the_named_vectors(pictured, split):
    full = in_full(pictured)
    pack, made = open_pack(full), UtteranceBuilder(full).recorded(split).lines
    assert made
    lines = pack.lines(split)
    assert lines.clip_ids == [line.clip_id for line in made]
    store = Store(full)
    values = {m: store.read(f) for m, f in feature_of(full.config.index).items()}
    for packed, line in zip(lines, made, strict=True):
        assert_same_line(packed, line, tolerance=0)
        for modality in packed.vectors:
            np.testing.assert_array_equal(
                packed.vectors[modality], values[modality][packed.clip_id]
            )
    assert pack.record.modalities == {
        "scene": "global_scene",
        "face": "global_face",
        "text": "text_emotion",
    }
    assert not {"scene_emotion", "face_emotion"} & pack.columns.keys()
    drawn, plain = (columns_of(own, reference_frames=40) for own in (lines, made))
    for modality in MODALITIES:
        one, other = drawn.modalities[modality], plain.modalities[modality]
        assert list(one.lines) == list(other.lines)
        np.testing.assert_array_equal(one.own, other.own)
        np.testing.assert_array_equal(one.hits, other.hits)


def test_a_run_learns_from_frames_speaks_and_is_refused_where_captions_are_required(
    pictured, captioned, tmp_path
):
    summary = train_run(pictured, RunRequest(run="pictured", max_steps=2))
    assert summary.report.last_step == 2
    assert "| global_scene |" in (run_folder(pictured, "pictured") / "card.md").read_text()
    dubber = open_dubber(pictured, "pictured")
    check_features(dubber, pictured, UtteranceBuilder(pictured).keys())
    for settings, named in (({}, "scene"), ({"scene_feature": "global_scene"}, "face")):
        wanted = rf"index.{named}_feature = 'global_{named}', .* '{named}_emotion'"
        with pytest.raises(IntegrityError, match=wanted):
            check_features(dubber, asked_by(captioned, **settings), {})
    video = pictured.footage_root / "scene_06.mp4"
    script = video.with_suffix(".srt")
    said = dub(pictured, video=video, script=script, output=tmp_path / "a.mp4", run="pictured")
    assert (said.dubbed, said.faults) == (4, [])


def test_a_run_that_was_trained_on_captions_is_refused_by_name(pictured, tmp_path):
    with pytest.raises(IntegrityError, match=r"index.scene_feature = 'scene_emotion'") as refusal:
        synthesize(pictured, run="authentic")
    assert "has 'global_scene'" in refusal.value.message
    assert refusal.value.code == "E-INT-FEATURES"
    assert next_run(pictured, "authentic") == "authentic-2"
    export_run(pictured, "authentic", tmp_path / "captions.safetensors")
    weights = read_weights(tmp_path / "captions.safetensors")
    keys = open_pack(pictured).record.keys
    with pytest.raises(ModelRefusedError, match="global_face None → "):
        # The widths are passed over: equal ones must not let other features through.
        replace(weights, widths={}).check(weights.system, NoSettings(), NoSettings(), keys)


@pytest.mark.parametrize("modality", ["scene", "face"])
def test_pages_say_which_feature_and_show_no_words_for_it(pictured, modality):
    clip_id = next(c for c, hits in found_by(pictured).items() if hits.get(modality))
    sheet = {own.modality: own for own in casting_sheet(pictured, clip_id).modalities}
    own, feature = sheet[modality], PICTURE[f"{modality}_feature"]
    assert own.similarity == f"cosine of {feature}"
    assert (own.texts, own.shares) == ((), ())
    assert own.hits
    for hit in own.hits:
        assert hit.shares == ()
        assert [text.title for text in hit.texts] == ["line"]
    assert sheet["text"].texts
    drawn = emotion_map(pictured, modality=modality, media="none", count=0)
    assert drawn.similarity == f"cosine of {feature}"
    stats = {own.modality: own for own in index_stats(pictured).modalities}
    width = Store(pictured).keys.by_name[feature].schema.width
    assert (stats[modality].feature, stats[modality].width) == (feature, width)
    report = emotion_precision(pictured, modality=modality, k=1, scope="any")
    assert report.queries > 0


def test_plan_status_and_why_follow_the_setting(pictured, captioned):
    assert plan_footage(Store(pictured)).index == "up to date"
    assert plan_footage(Store(captioned)).index == "to be built again"
    rows = {line.feature: line for line in plan(Store(pictured))}
    assert (rows["global_scene"].new, rows["scene_emotion"].new) == (0, 0)
    status = project_status(pictured)
    assert status.index == current_build(pictured).build
    assert status.neighbours > 0
    clip_id = Store(pictured).clips()[0].clip_id
    (row,) = explain_rows(pictured, clip_id, "global_scene").rows
    assert row.feature == "global_scene"


def test_an_index_of_frames_is_named_where_captions_are_required(pictured, captioned):
    assert not is_fresh(Store(captioned), current_build(captioned))
    stats = index_stats(captioned)
    assert not stats.is_fresh
    assert [own.feature for own in stats.modalities] == [
        "global_scene",
        "global_face",
        "text_emotion",
    ]
    look = Look.at(captioned)
    assert look.searchable("scene") is None
    assert look.searchable("text") is not None
    assert look.gaps[-1] == (
        "effects in scene: scene_emotion is set now, the build is of global_scene"
    )
    assert not audit_index(captioned).is_fresh
    with pytest.raises(ConfigError, match=r"index\.scene_feature global_scene → scene_emotion"):
        open_index(captioned)


def test_setting_back_gives_the_old_neighbours_and_computes_no_feature_again(
    pictured, before, tmp_path
):
    root = shutil.copytree(pictured.root, tmp_path / "demo")
    project = open_project(root)
    assert feature_of(project.config.index)["scene"] == "scene_emotion"
    features = tree_digest(root / "features")
    segments = tree_digest(root / "index" / "scene")
    done = extract(project, scheduler=Scheduler("sync", 1))
    assert done.rows == 0
    assert build_index(project).fresh
    assert retrieve(project).queries == 0  # the old answers are still there
    assert found_by(project) == before
    assert tree_digest(root / "features") == features
    assert tree_digest(root / "index" / "scene") == segments  # nothing was indexed again either


def test_a_feature_that_is_named_and_was_never_extracted_is_asked_for(captioned, tmp_path):
    root = shutil.copytree(captioned.root, tmp_path / "demo")
    shutil.rmtree(root / "features" / "global_scene")  # a project of an earlier redub
    project = asked_by(open_project(root), scene_feature="global_scene")
    record = current_build(project)
    with pytest.raises(ConfigError, match=r"'global_scene', which no library .* `redub extract`"):
        build_index(project)
    assert current_build(project) == record
    assert build_index(asked_by(project, scene_feature="scene_emotion")).library == 16


def test_every_feature_that_may_stand_for_a_modality_is_one_vector_a_clip(captioned):
    keys = Store(captioned).keys.by_name
    for modality, known in MODALITY_FEATURES.items():
        assert known[0] == f"{modality}_emotion"
        assert all(keys[name].schema.kind == "vector" for name in known)
