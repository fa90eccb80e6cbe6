"""What words are spoken as belongs to the keys, and every reader of words asks one backend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.phonemes import id_of
from redub.features.registry import EXTRACTORS
from redub.features.text.phonemes import WordPhonemes
from redub.pipeline.store.keys import text_digest
from redub.pipeline.store.parts import PartTable
from redub.pipeline.store.project import open_project
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights, remove_weights
from tests.features.paper.lexicon_files import make_lexicon
from tests.features.text.test_g2p import folder_with, made_tensors
from tests.features.voices import media_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "redub.toml").write_text('name = "p"\n', encoding="utf-8")
    return tmp_path


def keys_of(root):
    return Store(open_project(root)).keys.by_name


def changed(before, after):
    return {name for name in EXTRACTORS if before[name].key != after[name].key}


def readers_of_words(keys):
    """Phonemes, and every feature that reads them, directly or not."""
    found = {"phonemes"}
    for name in EXTRACTORS:  # in registry order: a feature comes after those that it reads
        if set(keys[name].reads) & found:
            found.add(name)
    return found


def test_a_changed_pronunciation_changes_the_keys_of_words_alone(root):
    before = dict(keys_of(root))
    (root / "pronunciations.csv").write_text("zed,Z EH D\n", encoding="utf-8")
    added = dict(keys_of(root))
    assert changed(before, added) == readers_of_words(before)
    assert "durations" in changed(before, added)
    (root / "pronunciations.csv").write_text("zed,Z IY\n", encoding="utf-8")
    assert changed(added, dict(keys_of(root))) == readers_of_words(before)
    (root / "pronunciations.csv").unlink()
    assert changed(before, dict(keys_of(root))) == set()


def test_an_error_in_the_pronunciations_is_known_before_any_work(root):
    (root / "pronunciations.csv").write_text("zed,Z QQ D\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pronunciations\.csv line 1 has the phone 'QQ'"):
        _ = keys_of(root)


def test_recorded_weights_for_unknown_words_are_in_the_key(root, tmp_path):
    before = dict(keys_of(root))
    folder = folder_with(tmp_path / "g2p", made_tensors())
    add_weights(root, "g2p", folder.path)
    with_network = dict(keys_of(root))
    assert changed(before, with_network) == readers_of_words(before)
    assert with_network["phonemes"].document.weights["g2p"] == folder.files
    (root / "redub.toml").write_text('[features.phonemes]\nguess = "never"\n', encoding="utf-8")
    assert "g2p" not in keys_of(root)["phonemes"].document.weights
    remove_weights(root, "g2p")
    (root / "redub.toml").write_text('name = "p"\n', encoding="utf-8")
    assert changed(before, dict(keys_of(root))) == set()


def test_durations_are_aligned_to_the_words_that_phonemes_says(root):
    (root / "pronunciations.csv").write_text("zorblax,S IY\n", encoding="utf-8")
    keys = Store(open_project(root)).keys
    speaker = keys.make("phonemes")
    assert isinstance(speaker, WordPhonemes)
    ids = speaker.extract(media_of(text="zorblax"))[:, 0]
    np.testing.assert_array_equal(ids, [id_of("S"), id_of("IY")])
    durations = keys.make("durations")
    assert durations.spoken("zorblax", "en")[0].phones == ("S", "IY")


def test_durations_follow_a_lexicon(root, tmp_path):
    lexicon = make_lexicon(tmp_path / "lex", text="SEE\tS EY1\n")
    add_weights(root, "lexicon", lexicon)
    (root / "redub.toml").write_text('[features.phonemes]\nbackend = "lexicon"\n', "utf-8")
    durations = Store(open_project(root)).keys.make("durations")
    assert durations.spoken("see", "en")[0].phones == ("S", "EY")
    with pytest.raises(FeatureAbsent, match="the lexicon 'lexicon': door"):
        durations.spoken("door", "en")


def test_a_german_clip_is_refused_and_not_read_as_english(root):
    keys = Store(open_project(root)).keys
    media = media_of(text="Guten Tag")
    german = dataclasses.replace(media, clip=dataclasses.replace(media.clip, language="de"))
    for extractor in (keys.make("phonemes"),):
        with pytest.raises(FeatureAbsent) as refusal:
            extractor.extract(german)
        assert refusal.value.code == "E-TEXT-LANGUAGE"
        assert "[footage] language" in refusal.value.message
    assert text_digest(german.clip) != text_digest(media.clip)


@pytest.mark.parametrize("language", ["German", "DE", "", "e"])
def test_a_language_that_is_no_tag_is_refused(language):
    with pytest.raises(ConfigError, match=r"footage\.language"):
        parse_config(f'[footage]\nlanguage = "{language}"\n')


def test_rows_from_before_a_column_get_its_default(tmp_path):
    old = pa.schema([("a", pa.string()), ("z", pa.int64())])
    new = pa.schema([("a", pa.string()), ("language", pa.string()), ("z", pa.int64())])
    table = PartTable(tmp_path, old)
    table.commit([table.write_part("1.parquet", pa.table({"a": ["x"], "z": [1]}), shard="s")])
    table = PartTable(tmp_path, new, later={"language": "en"})
    rows = pa.table({"a": ["y"], "language": ["de"], "z": [2]})
    table.commit([table.write_part("2.parquet", rows, shard="t")])
    assert PartTable(tmp_path, new, later={"language": "en"}).read().to_pylist() == [
        {"a": "x", "language": "en", "z": 1},
        {"a": "y", "language": "de", "z": 2},
    ]
