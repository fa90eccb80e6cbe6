"""Shared code of the caption extractors: the prompts, and one copy of a network per process.

The papers do not publish their prompts. Source: Authentic-Dubber (arXiv:2511.14249, reference
footage library), where a scene caption describes hue, lightness and saturation, and a face caption
the change of expression.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import Value
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor
from redub.features.models.shared_networks import shared

Precision = Literal["bfloat16", "float32"]

SCENE_PROMPT = (
    "Describe the hue, the lightness and the saturation of this scene and how they change. Then "
    "say in plain words which mood and which emotion the scene conveys."
)
FACE_PROMPT = (
    "Describe how the facial expression of this person changes during the video: the brows, the "
    "eyes and the mouth. Then say in plain words which emotion the face shows."
)
MOST_TOKENS = 256


class VideoCaptioner(ModelExtractor):
    """Compute one text from frames and the config's prompt, by greedy decoding.

    In bfloat16 the rounding can depend on the batch, and another rounding can change a word.
    """

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    batch: ClassVar[int] = 16

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    @cached_property
    def plan(self) -> Any:
        """The settings in the folder's configuration files, read without loading a network.

        Raises:
            ModelRefusedError: they belong to another model, or would run code.
        """
        return self.read_plan()

    @abstractmethod
    def read_plan(self) -> Any:
        """Read :attr:`plan`."""

    @abstractmethod
    def build(self, plan: Any, device: Any) -> Any:
        """Load a network with ``captions(prompt, inputs, most_tokens) -> list[str]``.

        Raises:
            ModelRefusedError: the files are not this model, or are not trusted.
        """

    def load(self) -> Any:
        """Load the network; features of one process with equal settings share it."""
        plan, device = self.plan, self.runtime.torch_device()
        return shared(
            self.kind, self.weights, lambda: self.build(plan, device), self.config.dtype, device
        )

    def compute(self, inputs: Sequence[Any]) -> list[Value]:
        """Write one caption per input.

        Raises:
            FeatureAbsent: E-FEAT-NOCAPTION, a caption is empty; the pipeline then computes the
                clips one by one.
        """
        config = self.config
        texts = self.network.captions(config.prompt, inputs, config.max_new_tokens)
        if not all(texts):
            raise FeatureAbsent("the caption of the model is empty", code="E-FEAT-NOCAPTION")
        return list(texts)


def check_caption_config(config: Any) -> None:
    """Check the settings that the caption extractors have in common.

    Raises:
        ConfigError: E-CFG-VALUE, with the setting and its legal values.
    """
    where = type(config).__name__
    if not config.prompt.strip() or "<video>" in config.prompt or "<|" in config.prompt:
        raise ConfigError(
            f"{where}: prompt is {config.prompt!r}; wanted a plain text without <video> and "
            "<|…|> marks",
            code="E-CFG-VALUE",
        )
    if not 1 <= config.max_new_tokens <= 2048:
        raise ConfigError(
            f"{where}: max_new_tokens is {config.max_new_tokens}; legal: 1 to 2048",
            code="E-CFG-VALUE",
        )
    for name, legal in (("dtype", ("bfloat16", "float32")), ("aspect", ("crop", "pad"))):
        value = getattr(config, name, legal[0])
        if value not in legal:
            raise ConfigError(
                f"{where}: {name} is {value!r}; legal: {', '.join(legal)}", code="E-CFG-VALUE"
            )
    margin = getattr(config, "margin", 0.0)
    if not 0.0 <= margin <= 2.0:
        raise ConfigError(f"{where}: margin is {margin}; legal: 0 to 2", code="E-CFG-VALUE")
