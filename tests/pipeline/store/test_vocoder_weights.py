"""The vocoder of a project: recorded, opened strictly, refused with a sentence, and in the keys."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.griffin_lim import GriffinLim
from redub.pipeline.store.project import Project, open_project
from redub.pipeline.store.runs.vocoders import load_weights, open_vocoder, vocoder_key
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.weights import add_weights, checked_folder, read_ledger
from redub.pipeline.work.speaking import make_vocoder
from tests.features.paper.ledgers import Payload
from tests.model import public_vocoders as public

MEL = np.random.default_rng(0).normal(-5, 2, (12, 80)).astype(np.float32)
AT_22_KHZ = "[audio]\nsample_rate_hz = 22050\nhop_samples = 256\nwin_samples = 1024\n"


def refusal(code, function, *arguments, **named):
    with pytest.raises(ModelRefusedError) as caught:
        function(*arguments, **named)
    assert caught.value.code == code, caught.value
    return caught.value.message


def project_with(root, text):
    (root / "redub.toml").write_text(text)
    return open_project(root)


@pytest.fixture
def hifi_gan(tmp_path):
    """A project that speaks with a HiFi-GAN in the public layout."""
    weights = public.write(tmp_path / "w", public.HIFI_GAN)
    add_weights(tmp_path, "hifi_gan", weights)
    return project_with(tmp_path, '[vocoder]\nname = "hifi_gan"\n')


# -- settings


def test_without_a_table_griffin_lim_speaks_as_ever(tmp_path):
    project = project_with(tmp_path, "")
    assert vocoder_key(project) == "griffin_lim"
    assert isinstance(make_vocoder(project), GriffinLim)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('name = "hifigan"', "did you mean 'hifi_gan'"),
        ('nmae = "hifi_gan"', "did you mean 'name'"),
        ('name = "bigvgan"\nrun = "mine"', "hifi_gan alone is trained here"),
        ('name = "hifi_gan"\nrun = "mine"\nweights = "w"', "both set"),
        ('weights = "w"', "griffin_lim has no weights"),
        ("name = 3", "wants str"),
    ],
)
def test_a_wrong_table_is_refused_when_it_is_read(text, hint):
    with pytest.raises(ConfigError, match=hint):
        parse_config(f"[vocoder]\n{text}\n")


def test_weights_that_are_not_recorded_and_runs_that_are_not_there_say_what_to_type(tmp_path):
    project = project_with(tmp_path, '[vocoder]\nname = "bigvgan"\n')
    assert "redub weights add bigvgan" in refusal("E-MODEL-UNLISTED", vocoder_key, project)
    assert "redub weights add bigvgan" in refusal("E-MODEL-UNLISTED", open_vocoder, project)
    (tmp_path / "vocoders" / "studio").mkdir(parents=True)
    named = project_with(tmp_path, '[vocoder]\nname = "hifi_gan"\nrun = "stuido"\n')
    for asked in (vocoder_key, open_vocoder):
        with pytest.raises(ConfigError, match="did you mean 'studio'") as caught:
            asked(named)
        assert caught.value.code == "E-STAGE-VOCODER"
    odd = project_with(tmp_path, '[vocoder]\nname = "hifi_gan"\nrun = "../w"\n')
    with pytest.raises(ConfigError, match="cannot name a vocoder run"):
        open_vocoder(odd)


# -- files


def test_a_recorded_hifi_gan_speaks_exactly_its_hops(hifi_gan):
    entry = read_ledger(hifi_gan.root).entries["hifi_gan"]
    assert sorted(entry.files) == ["config.json", "g_02500000"]
    assert "MIT" in entry.licence
    vocoder = open_vocoder(hifi_gan)
    spoken = vocoder.vocode(MEL)
    assert (len(spoken.samples), spoken.sample_rate_hz) == (12 * 160, 16_000)
    assert np.array_equal(open_vocoder(hifi_gan).vocode(MEL).samples, spoken.samples)
    assert (vocoder.device.type, vocoder.threads) == ("cpu", 1)


def test_the_file_alone_brings_its_config_along(tmp_path):
    weights = public.write(tmp_path / "w", public.HIFI_GAN)
    entry = add_weights(tmp_path, "hifi_gan", weights / "g_02500000", name="mine")
    assert sorted(entry.files) == ["config.json", "g_02500000"]
    project = project_with(tmp_path, '[vocoder]\nname = "hifi_gan"\nweights = "mine"\n')
    assert len(open_vocoder(project).vocode(MEL).samples) == 1920


def test_a_recorded_bigvgan_speaks_256_samples_a_frame(tmp_path):
    weights = public.write(
        tmp_path / "w", public.BIGVGAN, name="bigvgan_generator.pt", bigvgan=True
    )
    add_weights(tmp_path, "bigvgan", weights)
    project = project_with(tmp_path, AT_22_KHZ + '[vocoder]\nname = "bigvgan"\n')
    spoken = make_vocoder(project).vocode(MEL)
    assert (len(spoken.samples), spoken.sample_rate_hz) == (12 * 256, 22_050)


def opened(tmp_path, kind="hifi_gan"):
    add_weights(tmp_path, kind, tmp_path / "w", replace=True)
    return load_weights(kind, checked_folder(read_ledger(tmp_path), kind, kind), AudioSpec())


def test_safetensors_and_bare_tables_are_read_as_well(tmp_path):
    public.write(tmp_path / "w", public.HIFI_GAN)
    wanted = opened(tmp_path).vocode(MEL).samples
    (tmp_path / "w" / "g_02500000").unlink()
    save_file(public.state(public.HIFI_GAN, spelling="new"), tmp_path / "w" / "g.safetensors")
    assert np.array_equal(opened(tmp_path).vocode(MEL).samples, wanted)
    (tmp_path / "w" / "g.safetensors").unlink()
    parallel = {f"module.{n}": v for n, v in public.state(public.HIFI_GAN).items()}
    torch.save(parallel, tmp_path / "w" / "g.pt")
    assert np.array_equal(opened(tmp_path).vocode(MEL).samples, wanted)


def test_without_a_config_the_published_settings_are_found_and_others_asked_for(tmp_path):
    published = {**public.HIFI_GAN, "upsample_initial_channel": 512}
    weights = public.write(tmp_path / "w", published, name="g_HPM_Chem")
    (weights / "config.json").unlink()
    vocoder = opened(tmp_path)
    assert vocoder.config.upsample_rates == (8, 5, 2, 2)
    assert len(vocoder.vocode(MEL[:2]).samples) == 320
    at_22_khz = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)
    folder = checked_folder(read_ledger(tmp_path), "hifi_gan", "hifi_gan")
    said = refusal("E-MODEL-AUDIO", load_weights, "hifi_gan", folder, at_22_khz)
    assert "audio.sample_rate_hz is 22050 here and 16000 there (sampling_rate)" in said
    torch.save({"generator": public.state(public.HIFI_GAN)}, weights / "g_HPM_Chem")
    assert "config.json" in refusal("E-MODEL-CONFIG", opened, tmp_path)


def test_a_bigvgan_without_its_config_could_be_of_other_mels_and_is_refused(tmp_path):
    weights = public.write(
        tmp_path / "w", public.BIGVGAN, name="bigvgan_generator.pt", bigvgan=True
    )
    (weights / "config.json").unlink()
    assert "no config.json" in refusal("E-MODEL-CONFIG", opened, tmp_path, "bigvgan")


def lacks(table):
    del table["resblocks.3.convs2.1.bias"]


def has_more(table):
    table["resblocks.12.convs1.0.bias"] = torch.zeros(2)


def is_wider(table):
    table["conv_post.weight_v"] = torch.zeros(1, 2, 9)


def is_not_a_number(table):
    table["conv_pre.bias"][3] = torch.inf


def has_no_direction(table):
    table["conv_pre.weight_v"][3] = 0.0


def is_half_there(table):
    del table["conv_pre.weight_g"]


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lacks, "E-MODEL-KEYS", "1 tensors are missing (resblocks.3.convs2.1.bias)"),
        (has_more, "E-MODEL-KEYS", "1 are unknown (resblocks.12.convs1.0.bias)"),
        (is_wider, "E-MODEL-SHAPE", "conv_post.weight is (1, 2, 9), wanted (1, 2, 7)"),
        (is_not_a_number, "E-MODEL-FILE", "conv_pre.bias"),
        (has_no_direction, "E-MODEL-FILE", "conv_pre.weight"),
        (is_half_there, "E-MODEL-KEYS", "without conv_pre.weight_g"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, change, code, named):
    table = public.state(public.HIFI_GAN)
    change(table)
    public.write(tmp_path / "w", public.HIFI_GAN, table=table)
    said = refusal(code, opened, tmp_path)
    assert named in said
    assert "weights 'hifi_gan'" in said


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"hop_size": 200}, "E-MODEL-LENGTH", "160 samples of a frame"),
        ({"upsample_padding": "upstream"}, "E-MODEL-LENGTH", "8004 samples of 50 frames"),
        ({"fmax": 7600}, "E-MODEL-AUDIO", "audio.fmax_hz is 8000 here and 7600 there (fmax)"),
        ({"num_mels": 100}, "E-MODEL-AUDIO", "audio.mel_channels"),
        ({"auto_map": {"AutoModel": "evil.py"}}, "E-MODEL-CODE", "code"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, change, code, named):
    described = {**public.HIFI_GAN, **change}
    (tmp_path / "w").mkdir()
    torch.save({"generator": public.state(public.HIFI_GAN)}, tmp_path / "w" / "g_1")
    (tmp_path / "w" / "config.json").write_text(json.dumps(described))
    assert named in refusal(code, opened, tmp_path)


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    (tmp_path / "w").mkdir()
    marker = tmp_path / "ran"
    torch.save({"generator": Payload(marker)}, tmp_path / "w" / "g_1")
    refusal("E-MODEL-CODE", opened, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [{"generator": 3}, {"generator": {"a": [1]}}, {"step": 3}])
def test_what_is_no_table_of_tensors_is_refused(tmp_path, content):
    (tmp_path / "w").mkdir()
    torch.save(content, tmp_path / "w" / "g_1")
    refusal("E-MODEL-FILE", opened, tmp_path)


def test_a_discriminator_beside_the_generator_is_not_taken_for_one(tmp_path):
    weights = public.write(tmp_path / "w", public.HIFI_GAN)
    torch.save({"mpd": {}}, weights / "do_02500000")
    assert sorted(add_weights(tmp_path, "hifi_gan", weights).files) == ["config.json", "g_02500000"]
    torch.save({"generator": {}}, weights / "g_00000001")
    assert "name the file itself" in refusal(
        "E-MODEL-FILE", add_weights, tmp_path, "hifi_gan", weights, replace=True
    )


# -- keys


def test_the_key_changes_with_any_byte_and_with_nothing_else(hifi_gan, tmp_path):
    before = vocoder_key(hifi_gan)
    assert before.startswith("hifi_gan hifi_gan ")
    os.utime(tmp_path / "w" / "g_02500000")
    assert vocoder_key(hifi_gan) == before
    public.write(tmp_path / "w", public.HIFI_GAN, table=public.state(public.HIFI_GAN, seed=1))
    assert "not the file that was recorded" in refusal("E-MODEL-CHANGED", open_vocoder, hifi_gan)
    add_weights(tmp_path, "hifi_gan", tmp_path / "w", replace=True)
    assert vocoder_key(hifi_gan) != before


def test_a_project_with_a_vocoder_travels_to_workers(hifi_gan):
    import pickle

    again = pickle.loads(pickle.dumps(hifi_gan))
    assert isinstance(again, Project)
    assert vocoder_key(again) == vocoder_key(hifi_gan)
