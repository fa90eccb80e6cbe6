"""Finding the settings of a project."""

from __future__ import annotations

import pytest

from redub.core.errors import ConfigError
from redub.pipeline.store.project import open_project


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "redub.toml").write_bytes(b'\xef\xbb\xbfname = "one"\n')
    assert open_project(tmp_path).config.name == "one"


@pytest.mark.parametrize("kind", ["folder", "link to itself", "broken link"])
def test_settings_that_are_no_file_are_not_passed_over(tmp_path, kind):
    """The settings of a folder above would be taken for those of this project."""
    (tmp_path / "redub.toml").write_text('name = "above"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "redub.toml"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("redub.toml" if kind == "link to itself" else "nowhere")
    with pytest.raises(ConfigError, match="no file that can be read") as refused:
        open_project(inner)
    assert refused.value.code == "E-CFG-TOML"


@pytest.mark.parametrize(("tag", "is_known"), [("yue", True), ("pt-BR", True), ("zz", False)])
def test_the_language_of_the_footage_is_one_that_exists(tmp_path, tag, is_known):
    (tmp_path / "redub.toml").write_text(f'[footage]\nlanguage = "{tag}"\n')
    if is_known:
        assert open_project(tmp_path).config.footage.language == tag
    else:
        with pytest.raises(ConfigError, match=r"footage\.language is 'zz'"):
            open_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ('name = "' + "x" * 2_000_000 + '"', "larger than 1 MiB"),
        ("[audio]\nsample_rate_hz = 0", "sample_rate_hz is 0"),
        ("[audio]\nmel_channels = -1", "mel_channels is -1"),
        ("[audio]\nfmax_hz = nan", "wanted 0 <= fmin < fmax"),
        ("[audio]\nfmin_hz = inf", "wanted 0 <= fmin < fmax"),
        ("[audio]\nn_fft = 1000000", "fft <= 65536"),
    ],
)
def test_settings_without_sense_are_one_sentence(tmp_path, text, says):
    (tmp_path / "redub.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        open_project(tmp_path)
