"""Settings with another name since redub 0.2, and rows that were stored under the old names."""

import json

import pytest

from redub.core.config import RENAMED, from_mapping
from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, VideoSpec
from redub.features.registry import extractor_config
from redub.model.registry import configured
from redub.pipeline.reports.plan import plan_project
from redub.pipeline.reports.status import project_status
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.training.presets import TrainingConfig
from tests.pipeline.films import make_project

WRITTEN = {
    "average_decay": lambda: from_mapping(TrainingConfig, {"optimiser": {"average_decay": 0.9}}),
    "by": lambda: extractor_config(
        "lips", audio=AudioSpec(), video=VideoSpec(), overrides={"by": "import"}
    ),
    "neighbour_lines": lambda: parse_config("[index]\nneighbour_lines = 1"),
    "neighbour_mels": lambda: configured("mc_dubber", "tiny", {"neighbour_mels": False}),
    "picture_dropout": lambda: configured("dsu_avo", "tiny", {"picture_dropout": 0.1}),
    "system": lambda: parse_config('[train]\nsystem = "fastspeech2"'),
    "timbre_frames": lambda: from_mapping(TrainingConfig, {"batching": {"timbre_frames": 9}}),
    "timbres": lambda: parse_config("[train]\ntimbres = 2"),
}
"""Where a project or a command of redub 0.1 could have the old name."""


def test_every_renamed_setting_is_written_somewhere():
    assert WRITTEN.keys() == RENAMED.keys()


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(old):
    with pytest.raises(ConfigError) as refused:
        WRITTEN[old]()
    assert refused.value.code == "E-CFG-KEY"
    assert f".{old}'" in refused.value.message
    assert f"since redub 0.2 it is called '{RENAMED[old]}'" in refused.value.message


def test_rows_of_redub_01_are_named_and_computed_again(tmp_path):
    project = open_project(make_project(tmp_path / "p", sources=1))
    scheduler = Scheduler("sync", 1)
    ingest(project, scheduler=scheduler)
    extract(project, scheduler=scheduler, features=["mel"])
    assert not project_status(project).old_rows
    for path in list(project.root.glob("features/*/*/key.json")):
        document = json.loads(path.read_text())
        document["maker"] = document.pop("backend")
        path.write_text(json.dumps(document))
        path.parent.rename(path.parent.with_name("0" * 12))
    assert project_status(project).old_rows
    why = {line.feature: line.why for line in plan_project(Store(project)).features}
    assert "written by redub 0.1" in why["mel"]
    assert extract(project, scheduler=scheduler, features=["mel"]).rows > 0
    assert {x.feature: x.why for x in plan_project(Store(project)).features}["mel"] == ""
