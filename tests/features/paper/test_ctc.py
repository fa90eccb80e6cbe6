"""Forced alignment by CTC: the search against brute force, the network against transformers."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.phonemes import SIL, id_of, symbol_of
from redub.core.types import AudioSpec
from redub.features.models.ctc.alignment import Piece, best_path, timed_phones
from redub.features.models.ctc.checkpoint import frame_clock, read_vocabulary
from redub.features.models.ctc.extractor import CtcConfig, CtcDurations
from redub.features.models.ctc.network import load_network
from redub.features.text.phonemes import phoneme_ids
from redub.features.weights.offline import quiet_transformers
from tests.features.paper.ctc_files import (
    LETTERS,
    STRESSED_PHONES,
    change_json,
    make_ctc,
    write_json,
)
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.lexicon_files import make_lexicon
from tests.features.voices import AUDIO, hiss, media_of, silence, syllables

SPEECH = syllables(duration_s=1.0)  # 16000 samples: 49 frames
CINEMA = AudioSpec(sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024)


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    return make_ctc(tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def phones(tmp_path_factory):
    return make_ctc(tmp_path_factory.mktemp("phones"), vocabulary=STRESSED_PHONES)


def extractor_of(path, *, audio=AUDIO, folders=None, **config):
    given_folders = {"model": folder_of(path, "ctc"), **(folders or {})}
    return CtcDurations(CtcConfig(audio=audio, **config), given_folders, CPU)


def line(samples, text, rate=AUDIO.sample_rate_hz):
    ids = phoneme_ids(text)[:, None]
    return media_of(samples, text=text, rate=rate, features={"phonemes": ids})


def named(rows):
    return [(symbol_of(int(phone)), int(frames)) for phone, frames in rows]


# -- the search


def collapse(path):
    """CTC's own reading of a path: merge what touches, then drop the blanks (-1)."""
    merged = [entry for entry, _ in itertools.groupby(path)]
    return [entry for entry in merged if entry != -1]


def brute_force(scores, target):
    """The best total over all paths that read as ``target``; scores (F, V + 1), the blank last."""
    entries = [*range(scores.shape[1] - 1), -1]
    return max(
        (
            sum(scores[frame, entry] for frame, entry in enumerate(path))
            for path in itertools.product(entries, repeat=len(scores))
            if collapse(path) == target
        ),
        default=-np.inf,
    )


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.lists(st.integers(0, 1), min_size=1, max_size=3),
)
def test_the_search_is_as_good_as_trying_every_path(seed, frames, target):
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), size=frames))
    repeats = [n > 0 and target[n] == target[n - 1] for n in range(len(target))]
    labels = scores[:, target]
    if frames < len(target) + sum(repeats):
        with pytest.raises(FeatureAbsent):
            best_path(labels, scores[:, -1], repeats)
        assert brute_force(scores, target) == -np.inf
        return
    spans = best_path(labels, scores[:, -1], repeats)
    path = np.full(frames, -1)
    for entry, (first, last) in zip(target, spans, strict=True):
        assert first < last
        path[first:last] = entry
    assert collapse(path) == target
    total = sum(scores[frame, entry] for frame, entry in enumerate(path))
    assert total == pytest.approx(brute_force(scores, target), abs=1e-9)


def test_a_doubled_letter_keeps_a_blank_between():
    # Two equal labels in 3 frames: only label, blank, label reads as two of them.
    labels = np.log(np.full((3, 2), 0.9))
    spans = best_path(labels, np.log(np.full(3, 0.1)), [False, True])
    assert spans.tolist() == [[0, 1], [2, 3]]
    with pytest.raises(FeatureAbsent, match="2 labels with 1 forced blanks want 3 frames") as short:
        best_path(labels[:2], np.log(np.full(2, 0.1)), [False, True])
    assert short.value.code == "E-ALIGN-FAILED"


def test_a_label_without_any_chance_is_a_reason_not_a_path():
    labels = np.array([[0.0, -np.inf]] * 4)
    with pytest.raises(FeatureAbsent, match="probability of 0"):
        best_path(labels, np.zeros(4), [False, False])


def test_a_planted_path_is_found():
    planted = [(3, 9), (9, 10), (15, 22)]
    scores = np.full((30, 4), np.log(0.01))
    scores[:, 3] = np.log(0.97)
    for label, (first, last) in enumerate(planted):
        scores[first:last, label], scores[first:last, 3] = np.log(0.97), np.log(0.01)
    spans = best_path(scores[:, :3], scores[:, 3], [False] * 3)
    assert [tuple(span) for span in spans] == planted


# -- from labels to phonemes


def times_of(spans, pieces, pause_s=0.25, end_s=2.0):
    phones = timed_phones(
        np.array(spans), pieces, window=400, step=320, pause_s=pause_s, end_s=end_s
    )
    return [(phone.phoneme, round(phone.start_s, 6), round(phone.end_s, 6)) for phone in phones]


def test_borders_lie_midway_between_windows():
    # Windows of 25 ms every 20 ms: frame 20 begins to matter at 20 · 20 + (25 − 20)/2 ms.
    assert times_of([(20, 25)], [Piece(1, (7,))]) == [(7, 0.4025, 0.5025)]


def test_a_words_time_is_shared_equally_by_its_phonemes():
    # Letters in frames 20–22, 30 and 33–35: the word lasts from 402.5 to 702.5 ms.
    found = times_of([(20, 22), (30, 31), (33, 35)], [Piece(3, (5, 6))])
    assert found == [(5, 0.4025, 0.5525), (6, 0.5525, 0.7025)]


def test_short_gaps_are_halved_and_long_ones_are_pauses():
    pieces = [Piece(1, (5,)), Piece(1, ()), Piece(1, (6,)), Piece(1, (7,))]
    spans = [(20, 25), (25, 26), (30, 35), (60, 65)]
    assert times_of(spans, pieces) == [
        (5, 0.4025, 0.5525),  # the delimiter and blanks up to 602.5 ms: half of 100 ms each
        (6, 0.5525, 0.7025),
        (7, 1.2025, 1.3025),  # 500 ms later: a pause
    ]


def test_short_gaps_at_the_ends_belong_to_the_first_and_last_phone():
    assert times_of([(5, 10)], [Piece(1, (7,))], end_s=0.4) == [(7, 0.0, 0.4)]
    assert times_of([(5, 10)], [Piece(1, (7,))], end_s=0.4, pause_s=0.05) == [(7, 0.1025, 0.2025)]


# -- the vocabulary


def test_letters_and_phones_are_distinguished(letters, phones):
    by_letter = read_vocabulary(folder_of(letters, "ctc"))
    assert (by_letter.units, by_letter.blank, by_letter.delimiter) == ("letters", 0, 4)
    assert by_letter.entries["e"] == (LETTERS.index("E"),)
    by_phone = read_vocabulary(folder_of(phones, "ctc"))
    assert by_phone.units == "phones"
    assert by_phone.entries["AH"] == tuple(STRESSED_PHONES.index(f"AH{stress}") for stress in "012")


def test_the_clock_is_worked_out_from_the_convolutions(letters, tmp_path):
    # 400 samples wide, 320 apart: 16000 samples give 49 frames, as every wav2vec 2.0 does.
    assert frame_clock(folder_of(letters, "ctc")) == (400, 320)
    other = make_ctc(tmp_path, conv_kernel=[4, 3], conv_stride=[2, 3], conv_dim=[8, 8],
                     num_feat_extract_layers=2)  # fmt: skip
    assert frame_clock(folder_of(other, "ctc")) == (8, 6)  # 4 + (3 − 1) · 2 and 2 · 3


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        ({"<pad>": 0, "ə": 1, "t": 2}, r"neither the phones of ARPAbet .*nor all letters"),
        ({"eng": {"a": 1}, "deu": {"a": 1}}, r"several languages"),
        ({"<pad>": 0, "a": 99}, r"below 32"),
        (["a"], r"is not a table"),
    ],
)
def test_other_vocabularies_are_refused(letters, tmp_path, vocabulary, says):
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((letters / name).read_bytes())
    write_json(tmp_path / "vocab.json", vocabulary)
    with pytest.raises(ModelRefusedError, match=says) as refusal:
        read_vocabulary(folder_of(tmp_path, "ctc"))
    assert (refusal.value.code, refusal.value.exit_code) == ("E-MODEL-VOCAB", 8)


def test_the_blank_is_no_letter_whatever_it_is_called(tmp_path):
    folder = make_ctc(tmp_path, pad_token_id=LETTERS.index("E"))
    with pytest.raises(ModelRefusedError, match="nor all letters"):
        read_vocabulary(folder_of(folder, "ctc"))
    change_json(folder / "config.json", pad_token_id=99)
    with pytest.raises(ModelRefusedError, match="pad_token_id is 99"):
        read_vocabulary(folder_of(folder, "ctc"))


# -- the network


@pytest.mark.parametrize("tensors", ["pytorch_model.bin", "model.safetensors", "shards"])
def test_log_probabilities_are_those_of_transformers(tmp_path, tensors):
    folder = make_ctc(tmp_path, tensors=tensors)
    network = load_network(folder_of(folder, "ctc"), device=torch.device("cpu"))
    speech = SPEECH.astype(np.float32)
    transformers = quiet_transformers()
    listen = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        inputs = listen(speech, sampling_rate=16_000, return_tensors="pt").input_values
        expected = model(inputs).logits[0].log_softmax(-1).numpy()
    found = network.log_probabilities(speech)
    assert found.shape == (49, len(LETTERS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=1e-9)


def test_the_doctor_shows_its_size(letters):
    assert extractor_of(letters).describe()["parameters"].endswith(" M")


def test_other_sounds_get_other_answers(letters):
    network = load_network(folder_of(letters, "ctc"), device=torch.device("cpu"))
    answers = [network.log_probabilities(x.astype(np.float32)) for x in (SPEECH, hiss(1.0))]
    assert np.abs(answers[0] - answers[1]).max() > 0.1


def test_a_padded_batch_would_not_be_what_a_clip_alone_is(letters):
    # Why this extractor computes one by one: the front end's group norm sees the padding.
    model = load_network(folder_of(letters, "ctc"), device=torch.device("cpu")).model
    short = torch.from_numpy(SPEECH[:8000].astype(np.float32))
    padded = torch.nn.functional.pad(short, (0, 8000))
    with torch.inference_mode():
        alone, batched = model(short[None]).logits[0], model(padded[None]).logits[0]
    assert (alone - batched[: len(alone)]).abs().max() > 1e-3


def test_clips_together_get_what_they_get_alone(letters):
    extractor = extractor_of(letters)
    media = [line(syllables(duration_s=s), "see sue") for s in (0.6, 1.0, 0.8)]
    together = extractor.compute_all([extractor.prepare(m) for m in media])
    for clip, rows in zip(media, together, strict=True):
        assert np.array_equal(rows, extractor_of(letters).extract(clip))


@pytest.mark.slow
def test_the_network_is_loaded_with_the_network_cable_cut(letters):
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import pathlib, torch\n"
        "from tests.features.paper.ledgers import folder_of\n"
        "from redub.features.models.ctc.network import load_network\n"
        f"weights = folder_of(pathlib.Path({str(letters)!r}), 'ctc')\n"
        "network = load_network(weights, device=torch.device('cpu'))\n"
        "print(sum(p.numel() for p in network.model.parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1000


# -- rows


class Planted:
    """A network that is sure of one entry in every frame."""

    def __init__(self, size, entries):
        self.scores = np.full((len(entries), size), np.log(0.001))
        self.scores[np.arange(len(entries)), entries] = np.log(0.9)

    def log_probabilities(self, speech):
        assert len(speech) == 16_000
        return self.scores


def planted(vocabulary, *stretches):
    """Entries of 49 frames: blanks, and each named stretch of frames."""
    entries = np.zeros(49, dtype=int)
    for entry, first, last in stretches:
        entries[first:last] = vocabulary.index(entry)
    return Planted(len(vocabulary), entries)


def test_planted_phones_are_rows_at_their_frames(phones):
    extractor = extractor_of(phones, pause_s=0.1)
    extractor._network = planted(
        STRESSED_PHONES, ("S", 10, 14), ("IY1", 14, 18), ("S", 30, 33), ("UW1", 35, 40)
    )
    # Borders at 20 k + 2.5 ms, so mel frame 2 k (k = 10, 14, 18, 30, 34 midway, 40); the pauses
    # are longer than 100 ms; T = 100.
    assert named(extractor.extract(line(SPEECH, "see sue"))) == [
        ("sil", 20), ("S", 8), ("IY", 8), ("sil", 24), ("S", 8), ("UW", 12), ("sil", 20),
    ]  # fmt: skip


def test_planted_letters_place_words_and_share_their_time(letters):
    extractor = extractor_of(letters, pause_s=0.1)
    extractor._network = planted(
        LETTERS,
        *(("S", 10, 12), ("E", 13, 14), ("E", 15, 20), ("|", 20, 30)),
        *(("S", 30, 31), ("U", 33, 35), ("E", 36, 40)),
    )
    # see: frames 10–20 or 200–400 ms, two phonemes of 10 mel frames each; sue: 600–800 ms.
    assert named(extractor.extract(line(SPEECH, "See Sue!"))) == [
        ("sil", 20), ("S", 10), ("IY", 10), ("sil", 20), ("S", 10), ("UW", 10), ("sil", 20),
    ]  # fmt: skip


def test_apostrophes_and_hyphens_that_a_vocabulary_lacks_are_passed_over(tmp_path):
    plain = tuple(entry for entry in LETTERS if entry != "'")
    folder = make_ctc(tmp_path, vocabulary=plain)
    rows = extractor_of(folder).extract(line(SPEECH, "don't twenty-one"))
    spoken = [phone for phone, _ in named(rows) if phone != "sil"]
    assert spoken == [symbol_of(int(p)) for p in phoneme_ids("don't twenty-one")]


@pytest.mark.parametrize("audio", [AUDIO, CINEMA])
@pytest.mark.parametrize("vocabulary", ["letters", "phones"])
def test_rows_sum_to_the_mel_frames_and_are_the_phonemes(request, audio, vocabulary):
    extractor = extractor_of(request.getfixturevalue(vocabulary), audio=audio)
    for samples in (20_000, 20_321):
        sound = np.resize(SPEECH, samples)
        rows = extractor.extract(line(sound, "kids are talking", audio.sample_rate_hz))
        assert rows[:, 1].sum() == samples // audio.hop_samples
        assert (rows[:, 1] >= 0).all()
        wanted = phoneme_ids("kids are talking")
        assert rows[rows[:, 0] != SIL, 0].tolist() == wanted.tolist()
        assert rows.dtype.name == extractor.schema.dtype


# -- nulls with reasons


def test_more_letters_than_frames_are_refused_before_the_network_runs(letters):
    extractor = extractor_of(letters)
    with pytest.raises(FeatureAbsent, match="check that the text") as refusal:
        extractor.prepare(line(SPEECH[:8000], "kids are talking by the door"))
    assert refusal.value.code == "E-ALIGN-FAILED"
    assert extractor._network is None


def test_a_phone_that_the_vocabulary_lacks_is_named(tmp_path):
    folder = make_ctc(tmp_path, vocabulary=tuple(e for e in STRESSED_PHONES if e != "ZH"))
    extractor = extractor_of(folder)
    with pytest.raises(FeatureAbsent, match="lacks ZH"):
        extractor.prepare(line(SPEECH, "a vision"))
    assert extractor.prepare(line(SPEECH, "a door"))


@pytest.mark.parametrize(
    ("samples", "code"),
    [(silence(1.0), "E-FEAT-SILENT"), (None, "E-FEAT-NOSOUND"), (SPEECH[:100], "E-FEAT-SHORT")],
)
def test_nothing_to_hear_has_no_durations(letters, samples, code):
    with pytest.raises(FeatureAbsent) as refusal:
        extractor_of(letters).prepare(line(samples, "see"))
    assert refusal.value.code == code


def test_words_must_be_those_of_the_phonemes_feature(letters, tmp_path):
    lexicon = folder_of(make_lexicon(tmp_path, text="SEE\tS EY1\nSUE\tS UW1\n"), "lexicon")
    said = np.array([id_of(p) for p in ("S", "EY", "S", "UW")], dtype=np.int32)[:, None]
    media = media_of(SPEECH, text="see sue", features={"phonemes": said})
    with pytest.raises(FeatureAbsent, match=r"as 'builtin' says them") as refusal:
        extractor_of(letters, words="builtin").prepare(media)
    assert refusal.value.code == "E-ALIGN-DIFFERS"
    extractor = extractor_of(letters, words="lexicon", folders={"lexicon": lexicon})
    spoken = [phone for phone, _ in named(extractor.extract(media)) if phone != "sil"]
    assert spoken == ["S", "EY", "S", "UW"]
    wanted = CtcDurations.weights_wanted(CtcConfig(audio=AUDIO, words="lexicon", lexicon="own"))
    assert wanted == {"model": ("ctc", "ctc"), "lexicon": ("own", "lexicon")}


def test_a_network_that_answers_nonsense_gives_a_null(phones):
    extractor = extractor_of(phones)
    extractor._network = planted(STRESSED_PHONES)
    extractor._network.scores[5] = np.nan
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(line(SPEECH, "see"))
    assert refusal.value.code == "E-FEAT-NONFINITE"


def test_a_pause_longer_than_any_line_is_refused():
    with pytest.raises(ConfigError, match="pause_s"):
        CtcConfig(audio=AUDIO, pause_s=-1.0)


# -- refusals of files


def load(folder):
    return load_network(folder_of(folder, "ctc"), device=torch.device("cpu"))


def state_of(folder):
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s: s.pop("lm_head.bias"), "E-MODEL-KEYS"),
        (lambda s: s.update(extra=torch.zeros(1)), "E-MODEL-KEYS"),
        (lambda s: s.update({"lm_head.bias": torch.zeros(3)}), "E-MODEL-SHAPE"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, change, code):
    folder = make_ctc(tmp_path)
    state = state_of(folder)
    change(state)
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ModelRefusedError) as refusal:
        load(folder)
    assert (refusal.value.code, refusal.value.exit_code) == (code, 8)


def test_the_mask_of_the_training_may_be_missing(tmp_path):
    folder = make_ctc(tmp_path)
    state = state_of(folder)
    del state["wav2vec2.masked_spec_embed"]
    torch.save(state, folder / "pytorch_model.bin")
    assert load(folder).log_probabilities(SPEECH.astype(np.float32)).shape == (49, 32)


def test_a_cut_file_and_a_pointer_are_refused(tmp_path):
    folder = make_ctc(tmp_path)
    path = folder / "pytorch_model.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelRefusedError) as cut:
        load(folder)
    assert cut.value.code == "E-MODEL-FILE"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelRefusedError) as pointer:
        load(folder)
    assert pointer.value.code == "E-MODEL-LFS"


def test_a_pickle_with_code_is_refused_and_its_code_not_run(tmp_path):
    marker = tmp_path / "ran"
    folder = make_ctc(tmp_path / "model")
    torch.save({**state_of(folder), "x": Payload(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelRefusedError) as refusal:
        load(folder)
    assert refusal.value.code == "E-MODEL-CODE"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "E-MODEL-CODE"),
        ({"hidden_act": "no_such_thing"}, "E-MODEL-CONFIG"),
        ({"conv_stride": [5]}, "E-MODEL-CONFIG"),
        ({"hidden_size": "wide"}, "E-MODEL-FILE"),
    ],
)
def test_a_configuration_that_asks_for_code_or_nonsense_is_refused(tmp_path, settings, code):
    folder = make_ctc(tmp_path)
    change_json(folder / "config.json", **settings)
    with pytest.raises(ModelRefusedError) as refusal:
        load(folder)
    assert refusal.value.code == code


def test_a_kernel_that_a_configuration_names_is_not_fetched(tmp_path):
    folder = make_ctc(tmp_path)
    change_json(folder / "config.json", attn_implementation="somebody/kernels",
                _attn_implementation="somebody/kernels")  # fmt: skip
    assert load(folder).model.config._attn_implementation == "sdpa"


def test_files_beside_the_listed_ones_are_not_opened(tmp_path):
    folder = make_ctc(tmp_path)
    weights = folder_of(folder, "ctc")
    (folder / "model.safetensors").write_bytes(b"planted later")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    assert load_network(weights, device=torch.device("cpu")).model is not None
