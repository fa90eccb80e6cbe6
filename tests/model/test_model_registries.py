import pytest

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec
from redub.features.registry import EXTRACTORS
from redub.model.registry import SYSTEMS, configured, system, system_spec
from redub.model.vocoder.registry import VOCODERS, vocoder


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_resolves_and_its_presets_are_its_own_configs(name):
    kind = system(name)
    assert kind.__name__ == SYSTEMS[name].target.partition(":")[2]
    assert {"tiny", "paper"} <= set(kind.PRESETS)
    assert all(isinstance(preset, kind.Config) for preset in kind.PRESETS.values())


def test_every_system_declares_features_that_there_are():
    assert all(set(spec.reads) <= set(EXTRACTORS) for spec in SYSTEMS.values())
    with pytest.raises(ConfigError, match="did you mean 'authentic_dubber'"):
        system_spec("authentic_duber")


@pytest.mark.parametrize("name", VOCODERS)
def test_every_vocoder_resolves_and_builds(name):
    kind = vocoder(name)
    assert kind(kind.Config(audio=AudioSpec())).audio == AudioSpec()


def test_single_keys_of_a_preset_can_be_changed():
    plain = configured("authentic_dubber", "tiny")
    changed = configured("authentic_dubber", "tiny", {"graph": "none", "retrieve": ()})
    assert (plain.graph, plain.retrieve) == ("staged", ("scene", "face", "text"))
    assert (changed.graph, changed.retrieve) == ("none", ())
    assert changed.width == plain.width


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        ({"widht": 64}, "did you mean 'width'"),
        ({"graph": "stages"}, "legal: staged, single, none"),
        ({"kernel": 4}, "odd"),
        ({"width": 65}, "divisible"),
        ({"voice_channels": [8, 8]}, "4 halvings"),
    ],
)
def test_a_wrong_key_or_value_is_named(overrides, hint):
    with pytest.raises(ConfigError, match=hint):
        configured("authentic_dubber", "tiny", overrides)


def test_unknown_names_answer_with_the_known_ones():
    with pytest.raises(ConfigError, match="authentic_dubber"):
        system("autentic_dubber")
    with pytest.raises(ConfigError, match="paper"):
        configured("authentic_dubber", "papers")
    with pytest.raises(ConfigError, match="griffin_lim"):
        vocoder("griffinlim")
