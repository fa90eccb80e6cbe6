"""Load the tokenizer of a local folder with the ``tokenizers`` library.

``tokenizer.json`` has the whole pipeline as data. A folder with only ``vocab.json`` and
``merges.txt`` has the byte-level BPE of GPT-2, which RoBERTa and BART use.
"""

from __future__ import annotations

from typing import Any

from redub.core.errors import ModelRefusedError
from redub.core.extras import optional
from redub.features.weights.folder import WeightFolder

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def tokenizer_of(weights: WeightFolder) -> Any:
    """Load a ``tokenizers.Tokenizer`` that neither truncates nor pads.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the tokenizer is missing or damaged.
    """
    library = optional("tokenizers", extra="paper", purpose="networks that read text")
    name = weights.one_of("tokenizer.json", "vocab.json")
    try:
        if name == "tokenizer.json":
            tokenizer = library.Tokenizer.from_str(weights.text(name))
        else:
            vocab, merges = weights.file("vocab.json"), weights.file("merges.txt")
            tokenizer = library.Tokenizer(library.models.BPE.from_file(str(vocab), str(merges)))
            tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = library.decoders.ByteLevel()
            known = tokenizer.get_vocab()
            added = [
                # As RoBERTa's tokenizer has it: a mask swallows the space before it.
                library.AddedToken(sign, lstrip=sign == "<mask>", special=True)
                for sign in SPECIAL
                if sign in known
            ]
            tokenizer.add_special_tokens(added)
    except ModelRefusedError:
        raise
    except Exception as error:  # the library raises plain Exception for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise weights.refused(
            f"{name} is not a tokenizer ({reason})", code="E-MODEL-FILE"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
