"""Settings of training: what is no setting is refused by its path, and two models are not taken."""

import pytest

from redub.core.errors import ConfigError, UsageError
from redub.pipeline.store.project import open_project, with_training
from redub.pipeline.store.settings import parse_config
from redub.pipeline.work.train_plan import TrainPlan
from tests.typed import redub


@pytest.fixture
def project(tmp_path):
    (tmp_path / "redub.toml").write_text('name = "p"\n')
    (tmp_path / "footage").mkdir()
    return open_project(tmp_path)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("model_settings = {dim = 3}", "unknown key 'train.model_settings'"),
        ('model_settings = "a"', "unknown key 'train.model_settings'"),
        ('training = {system = "dsu_avo"}', "'train.training.system'; 'train.model' chooses"),
        ("training = 3", "'train.training' wants a table"),
        ("model = 3", "'train.model' wants a table"),
        ("model = {name = 3}", "'train.model' wants str"),
    ],
)
def test_what_is_no_setting_of_training_is_refused_by_its_path(project, toml, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(f"[train]\n{toml}\n")
    key, _, value = toml.partition(" = ")
    with pytest.raises(ConfigError, match=message):
        with_training(project, settings=[f"{key}={value}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.width=abc", "'train.model.width' wants int"),
        ("model.widht=3", "unknown key 'train.model.widht'; did you mean 'width'"),
        ("training.batching.lines=3", "unknown key 'train.training.batching.lines'"),
    ],
)
def test_a_setting_of_the_model_is_named_as_it_is_typed(project, setting, message):
    with pytest.raises(ConfigError, match=message):
        TrainPlan.of(with_training(project, settings=[setting]))


def test_all_forms_of_a_model_choose_it(project, tmp_path):
    file = tmp_path / "t.toml"
    file.write_text('model = "dsu_avo"\n')
    table = tmp_path / "u.toml"
    table.write_text('[model]\nname = "dsu_avo"\nwidth = 48\n')
    for chosen in (
        with_training(project, settings=["model=dsu_avo"]),
        with_training(project, settings=["model.name=dsu_avo"]),
        with_training(project, file=file),
        with_training(project, file=table),
    ):
        assert TrainPlan.of(chosen).model == "dsu_avo"
    assert TrainPlan.of(with_training(project, file=table)).model_config.width == 48
    assert parse_config('[train]\nmodel = "dsu_avo"').train.model == "dsu_avo"


def test_two_models_are_refused_and_one_named_twice_is_not(project):
    with pytest.raises(UsageError, match="m2ci_dubber and --set names dsu_avo"):
        with_training(project, model="m2ci_dubber", settings=["model.name=dsu_avo"])
    with_training(project, model="dsu_avo", settings=["model.name=dsu_avo", "model.width=48"])


def test_a_file_with_the_heading_says_how_to_write_it(project, tmp_path):
    (tmp_path / "t.toml").write_text("[train.model]\nwidth = 48\n")
    with pytest.raises(ConfigError, match=r"without that heading, and \[model\]"):
        with_training(project, file=tmp_path / "t.toml")


@pytest.mark.parametrize(
    "toml",
    [
        '[features.text_emotion]\nby = "rules"\n',
        "[features.mel]\nhop = 1\n",
        '[train]\nmodel = "m2ci"\n',
        "[train.model]\ndim = 3\n",
    ],
)
def test_config_refuses_what_other_commands_refuse(project, toml):
    (project.root / "redub.toml").write_text(toml)
    done = redub("config", "-C", project.root)
    assert done.returncode == 4, done.stdout
    assert "E-CFG" in done.stderr
    assert done.stdout == ""
