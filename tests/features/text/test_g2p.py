"""Guessing unknown words: the network against torch's own units, and files that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from redub.core.errors import FeatureAbsent, ModelRefusedError
from redub.features.text.g2p import ALPHABET, FILE, SOUNDS, Graphemes, read_graphemes
from redub.features.text.phonemes import PhonemeConfig, PhonemeExtractor
from redub.features.text.pronunciation import plain_phone
from tests.features.paper.ledgers import folder_of
from tests.packaged import packaged

WIDTH, HIDDEN = 6, 10


def made_tensors(seed=0):
    """Random tensors in the layout of g2p-en, small."""
    rng = np.random.default_rng(seed)
    shapes = {
        "enc_emb": (29, WIDTH), "dec_emb": (74, WIDTH), "fc_w": (74, HIDDEN), "fc_b": (74,),
    }  # fmt: skip
    for part in ("enc", "dec"):
        shapes |= {
            f"{part}_w_ih": (3 * HIDDEN, WIDTH), f"{part}_w_hh": (3 * HIDDEN, HIDDEN),
            f"{part}_b_ih": (3 * HIDDEN,), f"{part}_b_hh": (3 * HIDDEN,),
        }  # fmt: skip
    return {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}


def folder_with(path, tensors):
    path.mkdir(exist_ok=True)
    np.savez(path / FILE, **tensors)
    return folder_of(path, "g2p")


def gru_of(tensors, part):
    """torch's GRU with the same weights."""
    width, hidden = tensors[f"{part}_w_ih"].shape[1], tensors[f"{part}_w_hh"].shape[1]
    gru = torch.nn.GRU(width, hidden, batch_first=True)
    names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih"}
    state = {own: torch.from_numpy(tensors[f"{part}_{n}"]) for own, n in names.items()}
    gru.load_state_dict({**state, "bias_hh_l0": torch.from_numpy(tensors[f"{part}_b_hh"])})
    return gru


def oracle(tensors, word, most=20):
    """Greedy decoding with torch: the symbols up to the end, or ``most`` of them."""
    encoder, decoder = gru_of(tensors, "enc"), gru_of(tensors, "dec")
    symbols = [ALPHABET.index(letter) for letter in word] + [ALPHABET.index("</s>")]
    with torch.no_grad():
        _, hidden = encoder(torch.from_numpy(tensors["enc_emb"])[symbols][None])
        symbol, written = SOUNDS.index("<s>"), []
        for _ in range(most):
            _, hidden = decoder(torch.from_numpy(tensors["dec_emb"])[symbol][None, None], hidden)
            scores = torch.from_numpy(tensors["fc_w"]) @ hidden[0, 0]
            symbol = int((scores + torch.from_numpy(tensors["fc_b"])).argmax())
            if SOUNDS[symbol] == "</s>":
                return written
            written.append(SOUNDS[symbol])
    return None


def test_the_symbols_are_as_many_as_the_published_network_has():
    assert (len(ALPHABET), len(SOUNDS)) == (29, 74)
    assert SOUNDS[:6] == ("<pad>", "<unk>", "<s>", "</s>", "AA0", "AA1")
    # "UW" without stress is a symbol of its own, between UH2 and UW0.
    assert SOUNDS[SOUNDS.index("UH2") : SOUNDS.index("UW0") + 1] == ("UH2", "UW", "UW0")


@pytest.mark.parametrize("part", ["enc", "dec"])
def test_a_step_of_the_unit_is_a_step_of_torch(part):
    tensors = made_tensors()
    network, gru = Graphemes(tensors), gru_of(tensors, part)
    inputs = np.random.default_rng(1).normal(size=(7, WIDTH)).astype(np.float32)
    with torch.no_grad():
        wanted = gru(torch.from_numpy(inputs)[None])[0][0].numpy()
    hidden, found = np.zeros(HIDDEN, dtype=np.float32), []
    for value in inputs:
        hidden = network._step(part, value, hidden)
        found.append(hidden)
    np.testing.assert_allclose(np.stack(found), wanted, atol=1e-5)


WORDS = ["zorblax", "sublimation", "paramagnetism", "quixotry", "blorfy", "antibonding", "wugs"]


def test_the_published_network_guesses_as_torch_does():
    folder = packaged("g2p")
    network = read_graphemes(folder)
    for word in WORDS:
        written = oracle(network.tensors, word)
        assert network.guess(word) == tuple(plain_phone(phone) for phone in written), word


def test_the_published_network_knows_regular_spelling():
    # Invented words whose reading no English reader would doubt.
    network = read_graphemes(packaged("g2p"))
    assert network.guess("blick") == ("B", "L", "IH", "K")
    assert network.guess("dax") == ("D", "AE", "K", "S")
    assert network.guess("smish") == ("S", "M", "IH", "SH")


@pytest.mark.parametrize("word", ["привет", "naïve", "r2d2", "", "a" * 61, "two words"])
def test_what_is_not_a_word_of_english_letters_is_not_guessed(word):
    assert Graphemes(made_tensors()).guess(word) is None


def test_a_network_that_never_ends_guesses_nothing():
    tensors = made_tensors()
    tensors["fc_w"] = np.zeros_like(tensors["fc_w"])
    tensors["fc_b"] = np.eye(74, dtype=np.float32)[SOUNDS.index("AA1")]
    assert Graphemes(tensors).guess("word") is None


def test_a_made_checkpoint_is_read(tmp_path):
    network = read_graphemes(folder_with(tmp_path / "made", made_tensors()))
    assert set(network.tensors) == set(made_tensors())


def _without(tensors, name):
    return {n: v for n, v in tensors.items() if n != name}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: _without(t, "fc_b"), "E-MODEL-KEYS"),
        (lambda t: _without(t, "enc_emb"), "E-MODEL-KEYS"),
        (lambda t: {**t, "dec_emb": t["dec_emb"][:-1]}, "E-MODEL-SHAPE"),
        (lambda t: {**t, "fc_b": t["fc_b"] * np.nan}, "E-MODEL-FILE"),
        (lambda t: {**t, "fc_b": np.arange(74)}, "E-MODEL-FILE"),
        (lambda t: {**t, "fc_b": np.array([print] * 74)}, "E-MODEL-FILE"),  # a pickle
    ],
)
def test_another_file_is_refused_with_what_is_wrong(tmp_path, change, code):
    folder = folder_with(tmp_path / "made", change(made_tensors()))
    with pytest.raises(ModelRefusedError) as refusal:
        read_graphemes(folder)
    assert refusal.value.code == code


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"<html>no</html>"])
def test_a_damaged_file_is_refused(tmp_path, content):
    folder = folder_with(tmp_path / "made", made_tensors())
    (folder.path / FILE).write_bytes(content)
    with pytest.raises(ModelRefusedError) as refusal:
        read_graphemes(folder)
    assert refusal.value.code == "E-MODEL-FILE"


def test_unknown_words_are_guessed_and_marked():
    extractor = PhonemeExtractor(PhonemeConfig(), {"g2p": packaged("g2p")})
    words = extractor.words("The zorblax is here")
    assert [w.text for w in words if w.guessed] == ["zorblax"]
    assert words[1].phones[:2] == ("Z", "AO")


def test_without_weights_the_refusal_names_the_word_and_what_to_type():
    with pytest.raises(FeatureAbsent) as refusal:
        PhonemeExtractor(PhonemeConfig()).words("The zorblax is here")
    assert refusal.value.code == "E-TEXT-OOV"
    assert "zorblax" in refusal.value.message
    assert "`redub weights get g2p`" in refusal.value.message


def test_never_means_no_weights_are_looked_at():
    config = PhonemeConfig(guess="never")
    assert PhonemeExtractor.weights_optional(config) == {}
    with pytest.raises(FeatureAbsent) as refusal:
        PhonemeExtractor(config).words("The zorblax is here")
    assert "weights get" not in refusal.value.message
