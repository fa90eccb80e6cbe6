"""The packaged profile: each feature by its package where it is recorded, else by builtin code."""

import dataclasses

import pytest

from redub.core.errors import ModelRefusedError
from redub.features.registry import PROFILES
from redub.features.weights import packages
from redub.footage.encode import write_clip
from redub.pipeline.reports.faces import FACE_FEATURES, face_sheet
from redub.pipeline.reports.plan import plan_project
from redub.pipeline.reports.status import project_status
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.packaged import record_package, start_project
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import read_ledger, remove_weights
from redub.pipeline.work.executor import Scheduler
from tests.features.drawn_faces import talking
from tests.packaged import packaged, use_real_packages
from tests.pipeline.films import voice


@pytest.fixture
def project(tmp_path, monkeypatch):
    packaged("ge2e")
    use_real_packages(monkeypatch)
    made = start_project(tmp_path)
    assert made.profile == "packaged"
    return open_project(tmp_path)


def test_a_new_project_records_what_was_fetched(project):
    here = [name for name in packages.PACKAGES if packages.is_fetched(name)]
    assert list(read_ledger(project.root).entries) == sorted(here)
    assert project.config.profile == "packaged"


def test_without_packages_a_new_project_is_builtin(tmp_path):
    assert start_project(tmp_path).profile == "builtin"
    assert not read_ledger(tmp_path).entries


def test_a_feature_whose_weights_are_not_recorded_is_builtin_and_says_so(project):
    assert Store(project).keys.backend("speaker") == "ge2e"
    remove_weights(project.root, "ge2e")
    keys = Store(project).keys
    assert keys.backend("speaker") == "builtin"
    assert "speaker" not in keys.lacking
    assert "weights get ge2e" in keys.fallbacks["speaker"]
    assert "speaker" in plan_project(Store(project)).fallbacks
    assert "speaker" in project_status(project).fallbacks


def test_the_answering_backend_is_in_the_key(project):
    with_package = Store(project).keys.by_name["speaker"].key
    remove_weights(project.root, "ge2e")
    without = Store(project).keys.by_name["speaker"].key
    builtin = dataclasses.replace(
        project, config=dataclasses.replace(project.config, profile="builtin")
    )
    assert with_package != without == Store(builtin).keys.by_name["speaker"].key
    record_package("ge2e", project.root)
    assert Store(project).keys.by_name["speaker"].key == with_package


def test_a_backend_that_the_user_named_is_never_replaced(project):
    remove_weights(project.root, "ge2e")
    config = dataclasses.replace(project.config, features={"speaker": {"backend": "ge2e"}})
    keys = Store(dataclasses.replace(project, config=config)).keys
    assert not keys.fallbacks.keys() & {"speaker"}
    with pytest.raises(ModelRefusedError, match="weights get ge2e"):
        keys.key("speaker", keys.by_name)


def test_all_packages_together_leave_nothing_to_builtin_that_the_profile_names(project):
    if not all(packages.is_fetched(name) for name in packages.PACKAGES):
        pytest.skip("not every package is here; type `make models`")
    keys = Store(project).keys
    assert not keys.fallbacks
    assert {name: keys.backend(name) for name in PROFILES["packaged"]} == PROFILES["packaged"]


@pytest.mark.parametrize("feature", ["face_track", "landmarks"])
def test_faces_are_mediapipes_where_it_is_recorded_and_builtin_elsewhere(project, feature):
    packaged("mediapipe_face")
    keys = Store(project).keys
    with_package = keys.by_name["mouth_crop"].key
    assert keys.backend(feature) == "mediapipe"
    remove_weights(project.root, "mediapipe_face")
    keys = Store(project).keys
    assert keys.backend(feature) == "builtin"
    assert "weights get mediapipe_face" in keys.fallbacks[feature]
    assert feature not in keys.lacking
    assert keys.by_name["mouth_crop"].key != with_package


def test_a_new_project_follows_a_face_with_the_packages_networks(project):
    packaged("mediapipe_face")
    frames = list(talking([0.2, 0.6] * 6))
    sound = voice(len(frames) / 25, f0_hz=120, seed=0)
    (project.root / "footage").mkdir(exist_ok=True)
    write_clip(project.root / "footage" / "face.mp4", frames, 25, sound)
    ingest(project, scheduler=Scheduler("sync", 1))
    extract(project, features=list(FACE_FEATURES), scheduler=Scheduler("sync", 1))
    store = Store(project)
    (clip,) = store.clips()
    values = {name: store.read(name, [clip.clip_id])[clip.clip_id] for name in FACE_FEATURES}
    assert values["face_source"] == "mediapipe 3 of 12 frames, longest gap 4"
    assert values["landmarks"].shape == (12, 936)
    assert values["mouth_source"] == "landmarks"
    assert values["mouth_crop"].shape == (12, 96 * 96)
    (shown,) = face_sheet(project, None, 1).clips
    assert {moment.landmarks.shape for moment in shown.moments} == {(68, 2)}
