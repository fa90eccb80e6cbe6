"""Settings that have another name since redub 0.2 are answered with that name."""

import pytest

from redub.core.config import RENAMED, from_mapping
from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, VideoSpec
from redub.features.registry import extractor_config
from redub.model.registry import configured
from redub.pipeline.store.settings import parse_config
from redub.training.presets import TrainingConfig

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
