"""``[audio] separate``: what its sound reaches, what its keys cover, and what is missing for it."""

import dataclasses

import numpy as np
import pytest

from redub.core.errors import ConfigError, ModelRefusedError
from redub.features.registry import EXTRACTORS, extractor_class
from redub.pipeline.reports.plan import plan_project
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from tests.features.made_library import made_library
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)
NAMES = ["waveform", "mel", "f0"]


def project_of(root, *, separate, record=True):
    """A film of two clips, and a library that halves every sound."""
    toml = "[audio]\nseparate = true\n" if separate else ""
    make_project(root, sources=1, toml=toml)
    if record:
        library = made_library(root / "library")
        add_weights(root, "deepfilternet", library.path)
    return open_project(root)


def waveforms(project):
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=NAMES)
    store = Store(project)
    return [np.ravel(value) for value in store.read("waveform").values()]


def test_features_are_made_of_the_separated_speech(tmp_path):
    whole = waveforms(project_of(tmp_path / "whole", separate=False))
    halves = waveforms(project_of(tmp_path / "halves", separate=True))
    assert len(whole) == len(halves) == 2
    for full, half in zip(whole, halves, strict=True):
        assert np.abs(full).max() > 1_000
        # The way to 48 kHz and back costs the highest frequencies a little.
        assert np.sqrt(np.mean(np.square(half - full / 2.0))) < 0.02 * np.std(full)


def test_the_keys_of_sound_features_cover_the_separation_and_no_others(tmp_path):
    project = project_of(tmp_path, separate=True)
    off = dataclasses.replace(project, config=dataclasses.replace(project.config, separate=False))
    with_it, without = Store(project).keys.by_name, Store(off).keys.by_name

    def hears(name):
        kind = extractor_class(name)
        return "waveform" in kind.media or any(hears(read) for read in kind.reads)

    for name in EXTRACTORS:
        assert (with_it[name].key != without[name].key) == hears(name), name
    document = with_it["mel"].document
    assert document.weights["separation"] == dict(
        Store(project).keys.recorded_separation(checked=True).files
    )
    assert "separation" not in without["mel"].document.weights


def test_another_library_makes_other_keys(tmp_path):
    project = project_of(tmp_path, separate=True)
    before = Store(project).keys.by_name["mel"].key
    add_weights(
        tmp_path, "deepfilternet", made_library(tmp_path / "other", drift=1e-3).path, replace=True
    )
    assert Store(open_project(tmp_path)).keys.by_name["mel"].key != before


def test_without_the_weights_the_message_names_the_command(tmp_path):
    project = project_of(tmp_path, separate=True, record=False)
    ingest(project, scheduler=SYNC)
    with pytest.raises(ModelRefusedError, match="redub weights get deepfilternet"):
        extract(project, scheduler=SYNC, features=["mel"])
    lacking = Store(project).keys.lacking
    assert "mel" in lacking
    assert "phonemes" not in lacking
    assert plan_project(Store(project))  # the plan is made, and names what is lacking


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[audio]\nseperate = true\n", "separate"),
        ("[audio]\nseparate = 1\n", "wants bool"),
        ("[audio]\nhop = 160\n", "hop_samples"),
        ("audio = 3\n", "wants a table"),
        ("separate = true\n", r"\[audio\]"),
    ],
)
def test_a_wrong_setting_is_named(toml, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(toml)


def test_the_setting_stands_beside_the_others_of_the_table():
    config = parse_config("[audio]\nsample_rate_hz = 22050\nseparate = true\n")
    assert config.separate
    assert config.audio.sample_rate_hz == 22_050
    assert not parse_config("").separate
