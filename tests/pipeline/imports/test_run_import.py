"""A released HPMDubbing recorded with `weights add` speaks the lines of a project."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from redub.core.errors import ConfigError, ModelRefusedError
from redub.model.systems.public_hpm import hpm_from_public
from redub.pipeline.imports.runs import import_run
from redub.pipeline.reports.weights_doctor import examine_weights
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.published_runs import hpm_of
from redub.pipeline.work.speaking import open_dubber
from redub.training.data.lines import Utterance
from redub.training.synthesis import VoiceControl, synthesise
from tests.model.published_hpm import PublishedHPM
from tests.pipeline.films import make_project

WIDE = {"lips": 16, "local_face": 6, "speaker": 32}
OF = {"lips": "lips", "local_face": "local_face", "speaker": "speaker"}


class WideStore:
    """A store whose features are as wide as those of a small checkpoint: the builtin voice is not
    divisible by the eight heads that every released one has.
    """

    def __init__(self, project):
        self.keys = SimpleNamespace(
            by_name={
                name: SimpleNamespace(
                    key=stage.key,
                    schema=SimpleNamespace(width=WIDE.get(OF.get(name), stage.schema.width)),
                )
                for name, stage in Store(project).keys.by_name.items()
            }
        )
        self.project = project


@pytest.fixture(autouse=True)
def wide_features(monkeypatch):
    for room in ("imports.runs", "work.published_runs"):
        monkeypatch.setattr(f"redub.pipeline.{room}.Store", WideStore)


def checkpoint_for(project, folder, *, lips=16, seed=0):
    """A file in the released layout."""
    wide = WIDE
    torch.manual_seed(seed)
    model = PublishedHPM(
        width=wide["speaker"],
        lip_width=lips,
        face=wide["local_face"],
        mel=project.config.audio.mel_channels,
    )
    table = {}
    for name, value in model.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        table["module." + name.replace("parametrizations.weight.original1", "weight_v")] = value
    path = folder / "900000.pth.tar"
    torch.save({"model": table, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path, table


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return open_project(make_project(tmp_path_factory.mktemp("hpm") / "p", sources=1))


def line(wide, mel_frames=24):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).numpy()

    return Utterance(
        clip_id="one",
        speaker="voice",
        phonemes=torch.tensor([87, 12, 30, 45, 87]).numpy(),
        mel_frames=mel_frames,
        speaker_vector=normal(wide["speaker"]),
        reference_mels=[normal(20, 80)],
        lips=normal(mel_frames // 4, wide["lips"]),
        local_face=normal(mel_frames // 4, wide["local_face"]),
    )


def test_an_imported_run_speaks_as_the_checkpoint_does(project, tmp_path):
    path, table = checkpoint_for(project, tmp_path)
    add_weights(project.root, "hpm_dubbing", path)
    done = import_run(project, "hpm_dubbing", "chem")
    assert (done.run, done.entry) == ("chem", "hpm_dubbing")
    assert done.parameters > 0
    card = (project.root / "runs" / "chem" / "card.md").read_text()
    assert "sha256" in card
    assert "ask what those were" in card
    dubber = open_dubber(project, "chem")
    assert dubber.system == "hpm_dubbing"
    [spoken] = synthesise(dubber, [line(WIDE)])
    assert spoken.mel.shape == (24, 80)
    assert spoken.f0_hz is None
    assert spoken.durations.sum() == 24
    _, wanted = hpm_from_public(table)
    found = dubber.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    louder = VoiceControl(energy=3.0)
    with pytest.raises(Exception, match="predicts no pitch and energy"):
        synthesise(dubber, [line(WIDE)], [louder])
    with pytest.raises(Exception, match="times its words by the lips"):
        synthesise(dubber, [line(WIDE)], [VoiceControl(rate=2.0)])
    with pytest.raises(ConfigError, match="run 'chem' exists already"):
        import_run(project, "hpm_dubbing", "chem")


def test_another_mel_than_the_published_one_is_refused_unless_it_is_the_users_own(
    project, tmp_path
):
    path, _ = checkpoint_for(project, tmp_path)
    add_weights(project.root, "hpm_dubbing", path, name="again")
    audio = replace(project.config.audio, sample_rate_hz=22_050, hop_samples=256)
    other = replace(project, config=replace(project.config, audio=audio))
    with pytest.raises(ModelRefusedError, match="for Chem speaks another mel") as raised:
        import_run(other, "again", "mel")
    assert raised.value.code == "E-MODEL-AUDIO"
    assert "audio.hop_samples is 256 here and 160 there" in raised.value.message
    assert not (project.root / "runs" / "mel").exists()
    assert import_run(other, "again", "mel", own_mel=True).run == "mel"


def test_the_doctor_loads_it_for_the_projects_features(project, tmp_path):
    for name, lips in (("fits", 16), ("does_not", 24)):
        path, _ = checkpoint_for(project, tmp_path, lips=lips)
        add_weights(
            project.root, "hpm_dubbing", shutil.copy(path, tmp_path / f"{name}.pth"), name=name
        )
    said = {line.entry: line for line in examine_weights(project)}
    assert (said["fits"].feature, said["fits"].problem) == ("dubber", "")
    _, model = hpm_of(project, "fits")
    assert said["fits"].says["parameters"] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert "a lips 24 wide" in said["does_not"].problem


def test_a_checkpoint_for_other_features_is_refused_by_name(project, tmp_path):
    path, _ = checkpoint_for(project, tmp_path, lips=24)
    add_weights(project.root, "hpm_dubbing", path, name="wide")
    with pytest.raises(ModelRefusedError, match="a lips 24 wide, this project's is 16") as raised:
        import_run(project, "wide", "other")
    assert raised.value.code == "E-MODEL-WIDTH"
    assert not (project.root / "runs" / "other").exists()
