"""RoBERTa with a classification head, read at four places: ``<s>``, the mean, the head, the labels.

Source: RoBERTa (arXiv:1907.11692), tensor names of transformers' RobertaForSequenceClassification.
Letters: B texts, L tokens, D width, C labels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from redub.core.types import FloatArray
from redub.features.models.model_page import built, configured, tensors_of
from redub.features.models.roberta_emotion.checkpoint import TokenIds, labels_of
from redub.features.models.text_tokens import tokenizer_of
from redub.features.weights.folder import WeightFolder, load_strictly
from redub.features.weights.offline import quiet_transformers

OLD_BUFFERS = (r"roberta\.embeddings\.position_ids",)
"""Counted, not trained; files of older versions of transformers hold it."""

DEFAULT_NUMBERS = {
    "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 50_265,
    "max_position_embeddings": 512,
}  # fmt: skip
"""What transformers takes where a ``config.json`` leaves them out."""

BATCHES_REMEMBERED = 64
"""Seven features read the same texts, one feature after the other: a batch is computed once."""


class Reading(NamedTuple):
    """What the network makes of one text.

    cls: (D,) last hidden state at ``<s>``, the classifier's input.
    mean: (D,) mean of the last hidden states of all tokens, ``<s>`` and ``</s>`` included.
    head: (D,) tanh(dense(cls)), the classifier's last layer but one.
    probabilities: (C,) in the order of ``id2label``.
    """

    cls: FloatArray
    mean: FloatArray
    head: FloatArray
    probabilities: FloatArray


class TextTokens:
    """Text to ``<s> … </s>``, cut to what the network has positions for."""

    def __init__(self, weights: WeightFolder) -> None:
        """Raises:
        ModelRefusedError: E-MODEL-FILE, the tokenizer is damaged or of another model.
        """
        config = {**DEFAULT_NUMBERS, **weights.json("config.json")}
        numbers = {name: config[name] for name in DEFAULT_NUMBERS}
        if not all(isinstance(number, int) for number in numbers.values()):
            raise weights.refused(f"config.json: {numbers!r}, wanted numbers", code="E-MODEL-FILE")
        self.tokenizer = tokenizer_of(weights)
        self.pad = numbers["pad_token_id"]
        self.most = numbers["max_position_embeddings"] - self.pad - 1
        found = [self.tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<pad>")]
        wanted = [numbers["bos_token_id"], numbers["eos_token_id"], self.pad]
        size, rows = self.tokenizer.get_vocab_size(), numbers["vocab_size"]
        if found != wanted or size > rows:
            raise weights.refused(
                f"the tokenizer is not this network's: <s>, </s>, <pad> are {found} (config.json: "
                f"{wanted}), {size} tokens for {rows} embeddings",
                code="E-MODEL-FILE",
            )
        self.first, self.last = found[0], found[1]
        self.cut = 0  # texts that were too long

    def ids(self, text: str) -> tuple[TokenIds, int]:
        """The ids that are read, at most :attr:`most`, and how many there would have been."""
        inner = self.tokenizer.encode(text, add_special_tokens=False).ids
        kept = inner[: self.most - 2]
        return (self.first, *kept, self.last), len(inner) + 2


class TextReader:
    """A loaded network and its latest batches."""

    def __init__(self, module: Any, device: torch.device, *, pad: int) -> None:
        self.module = module
        self.device = device
        self.pad = pad
        self.several_labels = module.config.problem_type == "multi_label_classification"
        self._read: OrderedDict[tuple[TokenIds, ...], list[Reading]] = OrderedDict()

    def parameters(self) -> Iterator[Tensor]:
        parameters: Iterator[Tensor] = self.module.parameters()
        return parameters

    def read(self, batch: Sequence[TokenIds]) -> list[Reading]:
        """One forward pass over some tokenised texts, or none if this very batch was read lately.

        A batch is remembered as a whole and never by its texts: a value then has the same bytes
        whatever was computed before it.
        """
        key = tuple(batch)
        if key in self._read:
            self._read.move_to_end(key)
            return self._read[key]
        readings = self._forward(key)
        self._read[key] = readings
        if len(self._read) > BATCHES_REMEMBERED:
            self._read.popitem(last=False)
        return readings

    @torch.inference_mode()
    def _forward(self, batch: tuple[TokenIds, ...]) -> list[Reading]:
        longest = max(map(len, batch))
        padded = [ids + (self.pad,) * (longest - len(ids)) for ids in batch]
        ids_BL = self._to_device(torch.tensor(padded))
        valid_BL = self._to_device(
            torch.tensor([[i < len(ids) for i in range(longest)] for ids in batch])
        )
        states_BLD = self.module.roberta(
            input_ids=ids_BL, attention_mask=valid_BL.long()
        ).last_hidden_state
        cls_BD = states_BLD[:, 0]
        share_BL = valid_BL / valid_BL.sum(dim=1, keepdim=True)
        mean_BD = torch.einsum("bl,bld->bd", share_BL, states_BLD)
        head_BD = torch.tanh(self.module.classifier.dense(cls_BD))
        logits_BC = self.module.classifier.out_proj(head_BD)
        shares_BC = logits_BC.sigmoid() if self.several_labels else logits_BC.softmax(dim=-1)
        columns = [t.float().cpu().numpy() for t in (cls_BD, mean_BD, head_BD, shares_BC)]
        return [Reading(*(c[row].copy() for c in columns)) for row in range(len(batch))]

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def load_reader(weights: WeightFolder, device: torch.device) -> TextReader:
    """A reader with a network filled strictly: the classifier must be there too.

    Raises:
        ModelRefusedError: the files are not this model, or may not be trusted.
    """
    transformers = quiet_transformers()
    values = weights.json("config.json")
    config = configured(
        transformers.RobertaConfig,
        weights,
        num_labels=len(labels_of(weights)),
        problem_type=values.get("problem_type"),
        is_decoder=False,
        add_cross_attention=False,
    )
    module = built(transformers.RobertaForSequenceClassification, config, weights)
    load_strictly(module, tensors_of(weights), weights, extra=OLD_BUFFERS)
    return TextReader(module.to(device), device, pad=config.pad_token_id)
