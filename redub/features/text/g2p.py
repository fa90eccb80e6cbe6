"""Guess the phones of an unknown English word by a trained network, letters to ARPAbet.

Source: Park and Kim, g2p-en 2.1.0 (Apache-2.0): a GRU encoder reads the letters, a GRU decoder
writes phones, greedily. Its weights are one ``.npz`` file; this module computes them with numpy.
Letters: H hidden width, E width of the embeddings, L letters of the alphabet, P phones.
"""

from __future__ import annotations

import functools
import string
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from redub.core.phonemes import CONSONANTS, STRESSES, VOWELS
from redub.core.types import FloatArray
from redub.features.text.pronunciation import plain_phone
from redub.features.weights.folder import WeightFolder

KIND = "g2p"
FILE = "checkpoint20.npz"

ALPHABET = ("<pad>", "<unk>", "</s>", *string.ascii_lowercase)
"""The encoder's symbols, in the order of its embedding."""
SOUNDS = (
    "<pad>", "<unk>", "<s>", "</s>",
    *sorted([v + s for v in VOWELS for s in STRESSES[1:]] + ["UW", *CONSONANTS]),
)  # fmt: skip
"""The decoder's symbols, in the order of its embedding."""
MOST_PHONES = 40
_MOST_LETTERS = 60
_START, _END, _END_OF_WORD = SOUNDS.index("<s>"), SOUNDS.index("</s>"), ALPHABET.index("</s>")


class Graphemes:
    """The network of one checkpoint."""

    def __init__(self, tensors: Mapping[str, FloatArray]) -> None:
        self.tensors = tensors
        self.guess = functools.lru_cache(maxsize=65_536)(self._guess)

    def _guess(self, word: str) -> tuple[str, ...] | None:
        """Guess the phones of a word, without stress; None if it is not a word of a to z.

        Apostrophes are left out, because the network has no letter for them.
        """
        letters = word.replace("'", "")
        if not letters or len(letters) > _MOST_LETTERS or set(letters) - set(ALPHABET):
            return None
        hidden = np.zeros(self.tensors["enc_w_hh"].shape[1], dtype=np.float32)  # (H,)
        for symbol in [*map(ALPHABET.index, letters), _END_OF_WORD]:
            hidden = self._step("enc", self.tensors["enc_emb"][symbol], hidden)
        phones: list[str] = []
        symbol = _START
        for _ in range(MOST_PHONES):
            hidden = self._step("dec", self.tensors["dec_emb"][symbol], hidden)
            symbol = int(np.argmax(self.tensors["fc_w"] @ hidden + self.tensors["fc_b"]))
            if symbol == _END:
                return tuple(phones) or None
            phone = plain_phone(SOUNDS[symbol])
            if phone is None:
                return None  # the network gave no phone for a letter
            phones.append(phone)
        return None  # it never came to an end

    def _step(self, part: str, value: FloatArray, hidden: FloatArray) -> FloatArray:
        """One step of a gated recurrent unit; (E,) and (H,) in, (H,) out."""
        tensors = self.tensors
        entering = tensors[f"{part}_w_ih"] @ value + tensors[f"{part}_b_ih"]  # (3 H,)
        kept = tensors[f"{part}_w_hh"] @ hidden + tensors[f"{part}_b_hh"]  # (3 H,)
        reset_in, update_in, new_in = np.split(entering, 3)
        reset_kept, update_kept, new_kept = np.split(kept, 3)
        reset, update = _sigmoid(reset_in + reset_kept), _sigmoid(update_in + update_kept)
        new = np.tanh(new_in + reset * new_kept)
        after: FloatArray = (1.0 - update) * new + update * hidden
        return after


def _sigmoid(value: FloatArray) -> FloatArray:
    half: FloatArray = 0.5 * (np.tanh(0.5 * value) + 1.0)  # never overflows
    return half


def read_graphemes(folder: WeightFolder) -> Graphemes:
    """Load the network of a folder of weights.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the file is damaged or holds more than arrays;
            E-MODEL-KEYS or E-MODEL-SHAPE, it is another network.
    """
    path = folder.file(FILE)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            tensors: dict[str, Any] = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, AttributeError) as error:
        raise folder.refused(
            f"{FILE} is damaged, or holds more than arrays ({str(error)[:120]}); type "
            "`redub weights get g2p`",
            code="E-MODEL-FILE",
        ) from error
    _check(tensors, folder)
    return Graphemes({name: value.astype(np.float32) for name, value in tensors.items()})


def _check(tensors: Mapping[str, Any], folder: WeightFolder) -> None:
    """Check names, shapes and values of the arrays."""
    embedding = tensors.get("enc_emb")
    recurrent = tensors.get("enc_w_hh")
    if embedding is None or recurrent is None or embedding.ndim != 2 or recurrent.ndim != 2:
        raise folder.refused(f"{FILE} has no encoder; it is another network", code="E-MODEL-KEYS")
    width, hidden = embedding.shape[1], recurrent.shape[1]
    wanted = {
        "enc_emb": (len(ALPHABET), width), "dec_emb": (len(SOUNDS), width),
        "fc_w": (len(SOUNDS), hidden), "fc_b": (len(SOUNDS),),
    }  # fmt: skip
    for part in ("enc", "dec"):
        wanted[f"{part}_w_ih"] = (3 * hidden, width)
        wanted[f"{part}_w_hh"] = (3 * hidden, hidden)
        wanted[f"{part}_b_ih"] = wanted[f"{part}_b_hh"] = (3 * hidden,)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise folder.refused(
            f"{FILE} has no {', '.join(missing[:3])}; it is another network", code="E-MODEL-KEYS"
        )
    for name, shape in wanted.items():
        value = tensors[name]
        if value.shape != shape:
            raise folder.refused(f"{name} is {value.shape}, wanted {shape}", code="E-MODEL-SHAPE")
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise folder.refused(
                f"{name} holds values that are not numbers; copy the file again",
                code="E-MODEL-FILE",
            )
