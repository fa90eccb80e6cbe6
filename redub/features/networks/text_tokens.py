"""Text to token ids with the tokenizer of a local folder, by the ``tokenizers`` library alone.

``tokenizer.json`` holds the whole pipeline as data. A folder with only ``vocab.json`` and
``merges.txt`` is the byte-level BPE of GPT-2, which RoBERTa and BART use.
"""

from __future__ import annotations

from typing import Any

from redub.core.errors import ModelRefusedError
from redub.features.weights import WeightFolder

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def tokenizer_of(weights: WeightFolder) -> Any:
    """A ``tokenizers.Tokenizer`` that neither truncates nor pads.

    Raises:
        ModelRefusedError: E-MODEL-FILE, no tokenizer there or a damaged one.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    name = weights.one_of("tokenizer.json", "vocab.json")
    try:
        if name == "tokenizer.json":
            tokenizer = Tokenizer.from_str(weights.text(name))
        else:
            vocab, merges = weights.file("vocab.json"), weights.file("merges.txt")
            tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            known = tokenizer.get_vocab()
            tokenizer.add_special_tokens(
                # As RoBERTa's tokenizer has it: a mask swallows the space before it.
                [AddedToken(t, lstrip=t == "<mask>", special=True) for t in SPECIAL if t in known]
            )
    except ModelRefusedError:
        raise
    except Exception as error:  # the library has nothing narrower for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise weights.refused(f"{name} is no tokenizer ({reason})", code="E-MODEL-FILE") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
