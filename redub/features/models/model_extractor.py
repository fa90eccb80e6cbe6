"""Base class of extractors with trained weights: prepare each clip, then compute in batches.

``prepare`` runs when a clip is decoded and keeps only the input of the network. ``compute`` runs
over a whole shard in batches. Both are deterministic, and apart from rounding a value does not
depend on the other clips of its batch. An extractor with a network for which that is not true
computes clips one by one.

Modules of such extractors do not import torch at the top, because cache keys and plans are made
without torch. The networks are in :mod:`redub.features.models`.
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
    """Base class of all extractors of the ``paper`` profile.

    Class attributes besides those of :class:`redub.features.base.Extractor`:
        kind: name in :data:`redub.features.weights.kinds.KINDS` of the files that it reads.
        batch: clips per forward pass, unless the runtime sets another number.
        one_by_one: True if the frames of one clip form a batch, so that a batch of several clips
            has no advantage.
    Its Config has a field ``weights: str``, by default the name of the kind.
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
        """Return one role, ``model``; the config's ``weights`` names the entry of the ledger."""
        return {"model": (config.weights, cls.kind)}

    @property
    @abstractmethod
    def schema(self) -> FeatureSchema:
        """See :attr:`Extractor.schema`; must be known without loading a network."""

    @abstractmethod
    def load(self) -> Any:
        """Build the network, load its weights strictly, in eval mode on ``runtime.torch_device()``.

        Raises:
            ModelRefusedError: the files are not this model, or are not trusted.
        """

    @abstractmethod
    def prepare(self, media: ClipMedia) -> Any:
        """Make the network's input for one clip: small arrays or text, on the CPU.

        Raises:
            FeatureAbsent: the clip has no such value.
        """

    @abstractmethod
    def compute(self, inputs: Sequence[Any]) -> list[Value]:
        """Compute the values of prepared clips, in order; in one forward pass if possible."""

    def size(self, prepared: Any) -> float:
        """Return the length of an input; inputs of similar size share a batch, to limit padding."""
        return 0.0

    @property
    def network(self) -> Any:
        """The loaded network; loaded once per process, at the first value."""
        if self._network is None:
            with understood(self.weights):
                self._network = self.load()
        return self._network

    def describe(self) -> dict[str, str]:
        """Describe the loaded network for `redub doctor --weights`; subclasses add entries."""
        schema = self.schema
        count = sum(p.numel() for p in self.network.parameters())
        return {
            "gives": schema.kind if schema.kind == "text" else f"{schema.kind} × {schema.width}",
            "parameters": f"{count / 1e6:.2f} M",
        }

    def extract(self, media: ClipMedia) -> Value:
        """Compute the value of one clip; see :meth:`Extractor.extract`."""
        return self.compute([self.prepare(media)])[0]

    def compute_all(self, inputs: Sequence[Any]) -> list[Value]:
        """Run :meth:`compute` over any number of inputs, in batches of similar size."""
        order = sorted(range(len(inputs)), key=lambda i: self.size(inputs[i]))
        values = in_batches(
            [inputs[i] for i in order], self.compute, self.runtime.batch or self.batch
        )
        placed = dict(zip(order, values, strict=True))
        return [placed[i] for i in range(len(inputs))]


def in_batches(
    items: Sequence[A], compute: Callable[[Sequence[A]], Sequence[B]], batch: int
) -> list[B]:
    """Run ``compute`` over all items; halve a batch that does not fit into the GPU's memory.

    A halved batch size is kept for the rest of the call.

    Raises:
        ClipError: E-FEAT-MEMORY, a single item does not fit.
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
        # Outside the except block, because the traceback keeps the tensors of the failed pass.
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
