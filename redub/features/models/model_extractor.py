"""What an extractor with trained weights is: prepare each clip, compute many at once.

``prepare`` runs while the clip is decoded and keeps only what the network needs; ``compute`` runs
over a whole shard in batches. Both are deterministic, and a value does not depend on who shared its
batch beyond rounding (an extractor whose network cannot keep that promise computes one by one).

Modules of such extractors import no torch at the top: keys and plans are made without loading it.
Networks live in :mod:`redub.features.models`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from redub.core.errors import ClipError
from redub.core.types import ClipMedia, Value
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder, understood

A = TypeVar("A")
B = TypeVar("B")


class ModelExtractor(WeightUser, ABC):
    """Base of all extractors of the ``paper`` profile.

    Class attributes beside those of :class:`redub.features.base.Extractor`:
        kind: the line of :data:`redub.features.weights.kinds.KINDS` whose files it reads.
        batch: clips per forward pass, unless the run says otherwise.
        one_by_one: True where a clip is already a batch (a network over single frames), so that
            nothing is gained by waiting for other clips.
    Its Config has a field ``weights: str``, by default the kind's name.
    """

    kind: ClassVar[str]
    media: ClassVar[frozenset[Media]]
    Config: ClassVar[type]
    batch: ClassVar[int] = 16
    one_by_one: ClassVar[bool] = False

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        super().__init__(config, folders, runtime)
        self.weights = folders["model"]
        self._network: Any = None

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """One folder, the role ``model``; the config's ``weights`` names the ledger's entry."""
        return {"model": (config.weights, cls.kind)}

    @property
    @abstractmethod
    def schema(self) -> FeatureSchema:
        """Known from settings and the folder's small files, without loading a network."""

    @abstractmethod
    def load(self) -> Any:
        """Build the network, fill it strictly, put it on ``runtime.torch_device()``, in eval mode.

        Raises:
            ModelRefusedError: the files are not this model, or may not be trusted.
        """

    @abstractmethod
    def prepare(self, media: ClipMedia) -> Any:
        """The network's input for one clip, as small arrays or text on the CPU.

        Raises:
            FeatureAbsent: the clip has no such value.
        """

    @abstractmethod
    def compute(self, inputs: Sequence[Any]) -> list[Value]:
        """Values of some prepared clips, in order; one forward pass where the model allows."""

    def size(self, prepared: Any) -> float:
        """How long an input is; inputs of like size share a batch, so that little is padding."""
        return 0.0

    @property
    def network(self) -> Any:
        """The loaded network; loaded once per process, at the first value."""
        if self._network is None:
            with understood(self.weights):
                self._network = self.load()
        return self._network

    def describe(self) -> dict[str, str]:
        """What the loaded network is, for `redub doctor --weights`; subclasses add labels."""
        schema = self.schema
        count = sum(p.numel() for p in self.network.parameters())
        return {
            "gives": schema.kind if schema.kind == "text" else f"{schema.kind} × {schema.width}",
            "parameters": f"{count / 1e6:.2f} M",
        }

    def extract(self, media: ClipMedia) -> Value:
        return self.compute([self.prepare(media)])[0]

    def compute_all(self, inputs: Sequence[Any]) -> list[Value]:
        """:meth:`compute` over any number of inputs, in batches of like size."""
        order = sorted(range(len(inputs)), key=lambda i: self.size(inputs[i]))
        values = in_batches(
            [inputs[i] for i in order], self.compute, self.runtime.batch or self.batch
        )
        placed = dict(zip(order, values, strict=True))
        return [placed[i] for i in range(len(inputs))]


def in_batches(
    items: Sequence[A], compute: Callable[[Sequence[A]], Sequence[B]], batch: int
) -> list[B]:
    """``compute`` over all items; a batch that does not fit into the GPU's memory is halved.

    Once halved it stays so for the rest of the call.

    Raises:
        ClipError: E-FEAT-MEMORY, not even one item fits.
    """
    done: list[B] = []
    while len(done) < len(items):
        part = items[len(done) : len(done) + batch]
        try:
            done += compute(part)
            continue
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":
                raise
        # Out of the except block: the error's traceback holds the tensors of the failed pass.
        _empty_gpu_cache()
        if len(part) == 1:
            raise ClipError(
                "one clip alone does not fit into the GPU's memory; use another device "
                "([compute] device) or a shorter clip",
                code="E-FEAT-MEMORY",
            )
        batch = max(1, len(part) // 2)
    return done


def _empty_gpu_cache() -> None:
    import torch

    torch.cuda.empty_cache()
