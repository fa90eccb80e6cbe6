"""A network of one matrix, for tests of what is around networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from redub.core.errors import FeatureAbsent
from redub.features.base import FeatureSchema
from redub.features.models.model_extractor import ModelExtractor
from redub.features.weights.folder import load_strictly

WIDTH = 4


def make_toy(folder, *, seed=0, name="toy.pt", **extra):
    """``toy.pt``: the weights of a Linear(3 → 4)."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    state = torch.nn.Linear(3, WIDTH).state_dict()
    torch.save({**state, **extra}, folder / name)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    weights: str = "ge2e"


class ToyExtractor(ModelExtractor):
    """Mean, spread and peak of the sound through the matrix."""

    kind: ClassVar[str] = "ge2e"
    media = frozenset({"waveform"})
    Config = ToyConfig
    batch = 2
    passes: ClassVar[list[int]] = []  # batch sizes seen, for the tests
    spoilt: ClassVar[set[str]] = set()  # clips that make a batch fail

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=WIDTH)

    def load(self):
        network = torch.nn.Linear(3, WIDTH)
        load_strictly(network, self.weights.tensors("toy.pt"), self.weights)
        return network.eval()

    def prepare(self, media):
        if media.waveform is None:
            raise FeatureAbsent("no sound", code="E-FEAT-NOSOUND")
        s = media.waveform.samples
        return (
            np.array([s.mean(), s.std(), np.abs(s).max()], dtype=np.float32),
            len(s),
            media.clip.clip_id,
        )

    def size(self, prepared):
        return prepared[1]

    def compute(self, inputs):
        ToyExtractor.passes.append(len(inputs))
        if any(clip_id in ToyExtractor.spoilt for *_, clip_id in inputs):
            raise ValueError("this input breaks the network")
        with torch.no_grad():
            values = self.network(torch.from_numpy(np.stack([item for item, *_ in inputs])))
        return list(values.numpy())


class CaptionToy(ToyExtractor):
    """A text feature from frames, so that others can read it."""

    media = frozenset({"frames"})

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    def prepare(self, media):
        return float(media.frames.mean())

    def size(self, prepared):
        return 0.0

    def compute(self, inputs):
        ToyExtractor.passes.append(len(inputs))
        assert self.network is not None
        return [f"brightness {value:.3f}" for value in inputs]
