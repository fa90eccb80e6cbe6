"""Read the vocabulary and the frame length of a CTC network from its JSON files."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from redub.core.errors import FeatureAbsent
from redub.features.text.pronunciation import PHONES, plain_phone
from redub.features.weights.folder import WeightFolder

DELIMITER = "|"  # default delimiter between words; tokenizer_config.json may name another
MISSING_PHONES = 4
"""A vocabulary of phones may lack this many of the 39 (TIMIT folds ZH into SH, AO into AA)."""

SILENT_LETTERS = frozenset("'-")
"""Characters without a sound; a vocabulary may lack them."""

Labels = tuple[tuple[int, ...], ...]
"""For each label of an utterance, the vocabulary entries that mean it (AH0, AH1, AH2)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The output vocabulary of a network.

    Attributes:
        units: whether the entries are phones or letters.
        entries: phone or letter → its output indices.
        blank: output index of CTC's blank.
        delimiter: output index of the word delimiter, or None.
    """

    units: Literal["phones", "letters"]
    entries: Mapping[str, tuple[int, ...]]
    blank: int
    delimiter: int | None

    def labels(self, symbols: Sequence[str]) -> Labels:
        """Look up the output indices of each symbol.

        Raises:
            FeatureAbsent: E-ALIGN-FAILED, with the symbols that are not in the vocabulary.
        """
        unknown = sorted({symbol for symbol in symbols if symbol not in self.entries})
        if unknown:
            raise FeatureAbsent(
                f"the network's vocabulary lacks {', '.join(unknown)}", code="E-ALIGN-FAILED"
            )
        return tuple(self.entries[symbol] for symbol in symbols)


def read_vocabulary(weights: WeightFolder) -> Vocabulary:
    """Read ``vocab.json`` as phones if it has those of ARPAbet, else as letters if it has a–z.

    Raises:
        ModelRefusedError: E-MODEL-VOCAB, it has neither, or its entries do not fit ``config.json``.
    """
    try:
        table = json.loads(weights.text("vocab.json"))
    except json.JSONDecodeError as error:
        raise weights.refused(f"vocab.json is not JSON: {error}", code="E-MODEL-VOCAB") from error
    config = weights.json("config.json")
    size, blank = config.get("vocab_size", 32), config.get("pad_token_id", 0)
    if not isinstance(table, dict) or not all(
        isinstance(place, int) and 0 <= place < size for place in table.values()
    ):
        raise weights.refused(
            f"vocab.json is not a table of entry and index below {size} (vocabularies of several "
            "languages are not supported)",
            code="E-MODEL-VOCAB",
        )
    if not isinstance(blank, int) or not 0 <= blank < size:
        raise weights.refused(
            f"config.json has the pad token {blank!r}, which is CTC's blank; wanted an index below "
            f"{size}",
            code="E-MODEL-VOCAB",
        )
    own = {entry: place for entry, place in table.items() if place != blank}
    phones = _grouped(own, plain_phone)
    letters = _grouped(own, _plain_letter)
    delimiter = own.get(_delimiter(weights))
    if len(PHONES - phones.keys()) <= MISSING_PHONES:
        return Vocabulary("phones", phones, blank, delimiter)
    if set(string.ascii_lowercase) <= letters.keys():
        return Vocabulary("letters", letters, blank, delimiter)
    raise weights.refused(
        f"vocab.json has neither the phones of ARPAbet (missing {len(PHONES - phones.keys())} of "
        f"39) nor all letters a–z; its entries begin {', '.join(list(table)[:8])}",
        code="E-MODEL-VOCAB",
    )


def _grouped(
    table: Mapping[str, int], name_of: Callable[[str], str | None]
) -> dict[str, tuple[int, ...]]:
    groups: dict[str, tuple[int, ...]] = {}
    for entry, place in sorted(table.items(), key=lambda item: item[1]):
        name = name_of(entry)
        if name is not None:
            groups[name] = (*groups.get(name, ()), place)
    return groups


def _plain_letter(entry: str) -> str | None:
    letter = entry.lower()
    is_plain = letter in SILENT_LETTERS or (len(letter) == 1 and letter in string.ascii_lowercase)
    return letter if is_plain else None


def _delimiter(weights: WeightFolder) -> str:
    if not weights.has("tokenizer_config.json"):
        return DELIMITER
    return str(weights.json("tokenizer_config.json").get("word_delimiter_token", DELIMITER))


def frame_clock(weights: WeightFolder) -> tuple[int, int]:
    """Compute (window, step) of the network's frames in samples at 16 kHz; usually (400, 320).

    Raises:
        ModelRefusedError: E-MODEL-CONFIG, no usable ``conv_kernel`` and ``conv_stride``.
    """
    config = weights.json("config.json")
    kernels = config.get("conv_kernel", [10, 3, 3, 3, 3, 2, 2])
    strides = config.get("conv_stride", [5, 2, 2, 2, 2, 2, 2])
    numbers = (
        [*kernels, *strides] if isinstance(kernels, list) and isinstance(strides, list) else []
    )
    if (
        not numbers
        or len(kernels) != len(strides)
        or not all(isinstance(n, int) and n > 0 for n in numbers)
    ):
        raise weights.refused(
            "config.json has no usable conv_kernel and conv_stride", code="E-MODEL-CONFIG"
        )
    step, window = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window += (kernel - 1) * step
        step *= stride
    return window, step
