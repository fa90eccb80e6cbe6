"""RoBERTa with a classification head; outputs: ``<s>`` state, mean state, head, probabilities.

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
"""Names of a constant table that files of older versions of transformers contain."""

DEFAULT_NUMBERS = {
    "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 50_265,
    "max_position_embeddings": 512,
}  # fmt: skip
"""Default values of transformers for settings that a ``config.json`` does not have."""

BATCHES_REMEMBERED = 64
"""Size of the cache: seven features read the same texts, so a batch is computed only once."""


class Reading(NamedTuple):
    """The network's outputs for one text.

    Attributes:
        cls: (D,) last hidden state at ``<s>``, the input of the classifier.
        mean: (D,) mean of the last hidden states of all tokens including ``<s>`` and ``</s>``.
        head: (D,) tanh(dense(cls)), the second last layer of the classifier.
        probabilities: (C,) in the order of ``id2label``.
    """

    cls: FloatArray
    mean: FloatArray
    head: FloatArray
    probabilities: FloatArray


class TextTokens:
    """Tokenize texts as ``<s> … </s>``, truncated to the number of positions of the network.

    Attributes:
        most: most tokens of a text.
        cut: number of truncated texts so far.
    """

    def __init__(self, weights: WeightFolder) -> None:
        """Load the tokenizer.

        Raises:
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
                f"the tokenizer does not fit the network: <s>, </s>, <pad> are {found} "
                f"(config.json: {wanted}), {size} tokens for {rows} embeddings",
                code="E-MODEL-FILE",
            )
        self.first, self.last = found[0], found[1]
        self.cut = 0

    def ids(self, text: str) -> tuple[TokenIds, int]:
        """Return the token ids of a text, at most :attr:`most`, and their number before the cut."""
        inner = self.tokenizer.encode(text, add_special_tokens=False).ids
        kept = inner[: self.most - 2]
        return (self.first, *kept, self.last), len(inner) + 2


class TextReader:
    """A loaded network with a cache of its latest batches."""

    def __init__(self, module: Any, device: torch.device, *, pad: int) -> None:
        self.module = module
        self.device = device
        self.pad = pad
        self.several_labels = module.config.problem_type == "multi_label_classification"
        self._read: OrderedDict[tuple[TokenIds, ...], list[Reading]] = OrderedDict()

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters of the network."""
        parameters: Iterator[Tensor] = self.module.parameters()
        return parameters

    def read(self, batch: Sequence[TokenIds]) -> list[Reading]:
        """Compute the outputs for a batch of tokenized texts, or return them from the cache.

        The cache key is the whole batch, not a single text. So the bytes of a value do not depend
        on earlier computations.
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
        weight_BL = valid_BL / valid_BL.sum(dim=1, keepdim=True)
        mean_BD = torch.einsum("bl,bld->bd", weight_BL, states_BLD)
        head_BD = torch.tanh(self.module.classifier.dense(cls_BD))
        logits_BC = self.module.classifier.out_proj(head_BD)
        scores_BC = logits_BC.sigmoid() if self.several_labels else logits_BC.softmax(dim=-1)
        columns = [t.float().cpu().numpy() for t in (cls_BD, mean_BD, head_BD, scores_BC)]
        return [Reading(*(c[row].copy() for c in columns)) for row in range(len(batch))]

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def load_reader(weights: WeightFolder, device: torch.device) -> TextReader:
    """Load the network strictly, including its classifier.

    Raises:
        ModelRefusedError: the files are not this model, or are not trusted.
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
