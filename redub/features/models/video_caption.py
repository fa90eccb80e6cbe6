"""What all captioning extractors share: the instructions, and one copy of a network per process.

The papers print no prompts. The scene's must name hue, lightness and saturation, and the face's the
change of expression (Authentic-Dubber, arXiv:2511.14249, reference footage library), so these do.
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
    """Pictures and the config's prompt in, one text out; greedy, so it is reproducible.

    In bfloat16 the rounding may depend on the batch, and a changed rounding may change a word.
    """

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    batch: ClassVar[int] = 16

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    @cached_property
    def plan(self) -> Any:
        """What the folder's configurations say, read without loading a network.

        Raises:
            ModelRefusedError: they are not of this model, or ask for code.
        """
        return self.read_plan()

    @abstractmethod
    def read_plan(self) -> Any:
        """See :attr:`plan`."""

    @abstractmethod
    def build(self, plan: Any, device: Any) -> Any:
        """Load a network with ``captions(prompt, inputs, most_tokens) -> list[str]``.

        Raises:
            ModelRefusedError: the files are not this model, or may not be trusted.
        """

    def load(self) -> Any:
        plan, device = self.plan, self.runtime.torch_device()
        return shared(
            self.kind, self.weights, lambda: self.build(plan, device), self.config.dtype, device
        )

    def compute(self, inputs: Sequence[Any]) -> list[Value]:
        """One caption per input.

        Raises:
            FeatureAbsent: E-FEAT-NOCAPTION, the model ended a caption before its first word; the
                pipeline then asks again clip by clip.
        """
        config = self.config
        texts = self.network.captions(config.prompt, inputs, config.max_new_tokens)
        if not all(texts):
            raise FeatureAbsent("the model wrote nothing", code="E-FEAT-NOCAPTION")
        return list(texts)


def check_caption_config(config: Any) -> None:
    """Refuse values that no captioner can work with.

    Raises:
        ConfigError: E-CFG-VALUE.
    """
    where = type(config).__name__
    if not config.prompt.strip() or "<video>" in config.prompt or "<|" in config.prompt:
        raise ConfigError(
            f"{where}: prompt is {config.prompt!r}; wanted a plain request without <video> and "
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
