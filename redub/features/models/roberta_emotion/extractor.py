"""Emotion of texts by a RoBERTa classifier: captions of scene and face, the line, its reaction.

Seven features share one network: an emotion vector of each caption, of line ‖ reaction and of the
line alone, and the probabilities of the network's own labels for each text.
Source: Authentic-Dubber (arXiv:2511.14249) takes 1024 numbers per caption and 2048 for line ‖
reaction from RoBERTa-large emotion; where in the network it reads them is not published.
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
"""Share of a batch that may be padding; what would add more opens a batch of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobertaVectorConfig:
    """Where the vector is read.

    pooling: ``cls``, the last hidden state at ``<s>``, which the classifier sees; ``mean`` of the
        last hidden states; ``head``, tanh(dense(cls)), the classifier's last layer but one.
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
    weights: str = "roberta_emotion"


class RobertaExtractor(ModelExtractor):
    """One or more texts of a clip in, one vector out."""

    kind = "roberta_emotion"
    batch = 32

    def load(self) -> TextReader:
        """The one reader of this process, whichever of the seven features asks first."""
        from redub.features.models.roberta_emotion import network as networks

        device = self.runtime.torch_device()
        return shared(
            "reader", self.weights, lambda: networks.load_reader(self.weights, device), device
        )

    @cached_property
    def tokens(self) -> TextTokens:
        from redub.features.models.roberta_emotion.network import TextTokens

        return shared("tokens", self.weights, lambda: TextTokens(self.weights))

    def describe(self) -> dict[str, str]:
        return {**super().describe(), "labels": ", ".join(labels_of(self.weights))}

    @property
    def reader(self) -> TextReader:
        reader: TextReader = self.network
        return reader

    def texts(self, media: ClipMedia) -> tuple[str, ...]:
        """The texts that the value is made of, in order: the line, or else the one read text."""
        line = "text" in self.media
        return (media.clip.text if line else str(media.features[self.reads[0]]),)

    @abstractmethod
    def value(self, readings: Sequence[Reading]) -> FloatArray:
        """From one reading per text to the feature."""

    def prepare(self, media: ClipMedia) -> tuple[TokenIds, ...]:
        """Token ids of each text; a text beyond the network's positions loses its end.

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
            log.info("text %d cut from %d tokens to %d", self.tokens.cut, wanted, len(ids))
        return ids

    def compute(self, inputs: Sequence[tuple[TokenIds, ...]]) -> list[Any]:
        columns = [self.reader.read(column) for column in zip(*inputs, strict=True)]
        return [self.value(readings) for readings in zip(*columns, strict=True)]

    def compute_all(self, inputs: Sequence[tuple[TokenIds, ...]]) -> list[Any]:
        """:meth:`compute`, in batches of like length; lines and reactions are batched apart.

        That keeps the padding below :data:`MOST_WASTE`, and lets the features that read the same
        lines meet in the same batches, which are then read once.
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
    """Cut ascending lengths into batches of at most ``most``, each with little padding.

    A batch is padded to its longest member; it ends where the next one would make more than
    ``waste`` of it padding.
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
    """The network's state at ``config.pooling``, one after the other for each text."""

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
        return np.concatenate([getattr(reading, self.config.pooling) for reading in readings])


class RobertaSceneEmotion(RobertaVector):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class RobertaFaceEmotion(RobertaVector):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class RobertaTextEmotion(RobertaVector):
    """The line ‖ the reaction it asks for. Where the reaction is the line, the halves are equal."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    reads: ClassVar[tuple[str, ...]] = ("reaction",)
    parts = 2

    def texts(self, media: ClipMedia) -> tuple[str, ...]:
        return media.clip.text, str(media.features["reaction"])


class RobertaGlobalText(RobertaVector):
    media: ClassVar[frozenset[Media]] = frozenset({"text"})


# -- probabilities


class RobertaProbabilities(RobertaExtractor):
    """The network's probabilities of its own labels."""

    Config: ClassVar[type] = RobertaProbabilityConfig

    @property
    def labels(self) -> tuple[str, ...]:
        """What each number is the probability of."""
        return labels_of(self.weights)

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=len(self.labels))

    def value(self, readings: Sequence[Reading]) -> FloatArray:
        return readings[0].probabilities


class RobertaSceneProbabilities(RobertaProbabilities):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class RobertaFaceProbabilities(RobertaProbabilities):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class RobertaTextProbabilities(RobertaProbabilities):
    media: ClassVar[frozenset[Media]] = frozenset({"text"})
