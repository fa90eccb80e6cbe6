"""Emotion of texts by a RoBERTa classifier: scene caption, face caption, utterance, reaction.

Seven features share one network: an emotion vector of each caption, of utterance ‖ reaction and of
the utterance alone; and the probabilities of the classifier's labels for each text.
Source: Authentic-Dubber (arXiv:2511.14249) takes 1024 numbers per caption and 2048 for utterance ‖
reaction from RoBERTa-large emotion; the layer is not published.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor, in_batches
from redub.features.models.roberta_emotion.checkpoint import TokenIds, labels_of
from redub.features.models.shared_networks import shared

if TYPE_CHECKING:
    from redub.features.models.roberta_emotion.network import Reading, TextReader, TextTokens

log = logging.getLogger(__name__)

POOLINGS = ("cls", "mean", "head")


MOST_WASTE = 0.1
"""Largest fraction of padding in a batch; a text that would add more starts a new batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobertaVectorConfig:
    """Settings of the emotion vectors with the backend ``roberta``.

    Attributes:
        weights: entry of the weights ledger.
        pooling: the output of the network that is used. ``cls`` is the last hidden state at
            ``<s>``, the input of the classifier; ``mean`` is the mean of the last hidden states;
            ``head`` is tanh(dense(cls)), the second last layer of the classifier.
    """

    weights: str = "roberta_emotion"
    pooling: Literal["cls", "mean", "head"] = "cls"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ConfigError(
                f"pooling is {self.pooling!r}; legal: {', '.join(POOLINGS)}", code="E-CFG-VALUE"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RobertaProbabilityConfig:
    """Settings of the emotion probabilities with the backend ``roberta``."""

    weights: str = "roberta_emotion"


class RobertaExtractor(ModelExtractor):
    """Base of the seven features: compute one vector from one or more texts of a clip."""

    kind = "roberta_emotion"
    batch = 32

    def load(self) -> TextReader:
        """Load the network; all seven features in a process share it."""
        from redub.features.models.roberta_emotion import network as networks

        device = self.runtime.torch_device()
        return shared(
            "reader", self.weights, lambda: networks.load_reader(self.weights, device), device
        )

    @cached_property
    def tokens(self) -> TextTokens:
        """The tokenizer, shared by all seven features in a process."""
        from redub.features.models.roberta_emotion.network import TextTokens

        return shared("tokens", self.weights, lambda: TextTokens(self.weights))

    def describe(self) -> dict[str, str]:
        """Add the emotion labels to the description."""
        return {**super().describe(), "labels": ", ".join(labels_of(self.weights))}

    @property
    def reader(self) -> TextReader:
        """The loaded network."""
        reader: TextReader = self.network
        return reader

    def texts(self, media: ClipMedia) -> tuple[str, ...]:
        """Return the texts for the value: the utterance's text, or else the caption it reads."""
        reads_text = "text" in self.media
        return (media.clip.text if reads_text else str(media.features[self.reads[0]]),)

    @abstractmethod
    def value(self, readings: Sequence[Reading]) -> FloatArray:
        """Compute the feature from the network's outputs for each text."""

    def prepare(self, media: ClipMedia) -> tuple[TokenIds, ...]:
        """Tokenize each text; a text that is too long for the network is truncated.

        Raises:
            FeatureAbsent: E-TEXT-NONE, a text is blank.
        """
        return tuple(self._ids(text) for text in self.texts(media))

    def _ids(self, text: str) -> TokenIds:
        if not text.strip():
            raise FeatureAbsent("the text is blank", code="E-TEXT-NONE")
        ids, wanted = self.tokens.ids(text.strip())
        if wanted > len(ids):
            self.tokens.cut += 1
            log.info("text %d truncated from %d to %d tokens", self.tokens.cut, wanted, len(ids))
        return ids

    def compute(self, inputs: Sequence[tuple[TokenIds, ...]]) -> list[Any]:
        """Compute the values of some clips in one batch."""
        columns = [self.reader.read(column) for column in zip(*inputs, strict=True)]
        return [self.value(readings) for readings in zip(*columns, strict=True)]

    def compute_all(self, inputs: Sequence[tuple[TokenIds, ...]]) -> list[Any]:
        """Run :meth:`compute` in batches of similar length, with separate batches per column.

        That keeps padding below :data:`MOST_WASTE`. Features that read the same texts then have the
        same batches, so the cache of the network is used.
        """
        columns = [self._read_all(column) for column in zip(*inputs, strict=True)]
        return [self.value(readings) for readings in zip(*columns, strict=True)]

    def _read_all(self, texts: Sequence[TokenIds]) -> list[Reading]:
        most = self.runtime.batch or self.batch
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        readings: dict[int, Reading] = {}
        for group in batches_of_like_length([len(texts[i]) for i in order], most):
            members = order[group]
            read = in_batches([texts[i] for i in members], self.reader.read, most)
            readings |= zip(members, read, strict=True)
        return [readings[i] for i in range(len(texts))]


def batches_of_like_length(
    lengths: Sequence[int], most: int, *, waste: float = MOST_WASTE
) -> list[slice]:
    """Divide ascending lengths into batches of at most ``most`` members with little padding.

    A batch is padded to its longest member. It ends where the next member would make the fraction
    of padding larger than ``waste``.
    """
    batches, first, real = [], 0, 0
    for place, length in enumerate(lengths):
        count = place - first + 1
        if count > most or real + length < (1.0 - waste) * count * length:
            batches.append(slice(first, place))
            first, real = place, 0
        real += length
    return [*batches, slice(first, len(lengths))] if lengths else []


# -- vectors


class RobertaVector(RobertaExtractor):
    """The output ``config.pooling`` of the network, concatenated over the texts."""

    Config: ClassVar[type] = RobertaVectorConfig
    parts: ClassVar[int] = 1

    @property
    def schema(self) -> FeatureSchema:
        """Width ``hidden_size`` per text: 1024 for RoBERTa-large."""
        width = self.weights.json("config.json").get("hidden_size")
        if not isinstance(width, int):
            raise self.weights.refused("config.json has no hidden_size", code="E-MODEL-FILE")
        return FeatureSchema(kind="vector", width=self.parts * width)

    def value(self, readings: Sequence[Reading]) -> FloatArray:
        """Concatenate the vectors of the texts."""
        return np.concatenate([getattr(reading, self.config.pooling) for reading in readings])


class RobertaSceneEmotion(RobertaVector):
    """Emotion vector of the scene caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class RobertaFaceEmotion(RobertaVector):
    """Emotion vector of the face caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class RobertaTextEmotion(RobertaVector):
    """Emotion vectors of utterance ‖ reaction; both halves are equal with the builtin reaction."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    reads: ClassVar[tuple[str, ...]] = ("reaction",)
    parts = 2

    def texts(self, media: ClipMedia) -> tuple[str, ...]:
        """Return the text of the utterance and the reaction."""
        return media.clip.text, str(media.features["reaction"])


class RobertaGlobalText(RobertaVector):
    """Emotion vector of the text of the utterance."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})


# -- probabilities


class RobertaProbabilities(RobertaExtractor):
    """The classifier's probabilities of its labels."""

    Config: ClassVar[type] = RobertaProbabilityConfig

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each probability, in order."""
        return labels_of(self.weights)

    @property
    def schema(self) -> FeatureSchema:
        """One probability per label."""
        return FeatureSchema(kind="vector", width=len(self.labels))

    def value(self, readings: Sequence[Reading]) -> FloatArray:
        """Return the probabilities of the text."""
        return readings[0].probabilities


class RobertaSceneProbabilities(RobertaProbabilities):
    """Emotion probabilities of the scene caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class RobertaFaceProbabilities(RobertaProbabilities):
    """Emotion probabilities of the face caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class RobertaTextProbabilities(RobertaProbabilities):
    """Emotion probabilities of the text of the utterance."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
