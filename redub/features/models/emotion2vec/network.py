"""emotion2vec with funasr's model class, without the rest of funasr.

funasr's ``AutoModel`` evaluates parts of a checkpoint's configuration, seeds every random
generator, sets the thread count, installs a log handler and ignores missing tensors; ``import
funasr`` loads some 2,700 modules. The model class alone gives the same numbers without that.

Source: emotion2vec (arXiv:2312.15185), the model class of funasr 1.4. Letters: B pieces of sound,
S samples, F frames (50 Hz), D width, H heads.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import itertools
import logging
import os
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from redub.core.types import FloatArray

PASS_FRAMES = 3000
"""Frames per forward pass, 60 s of sound. A piece of 30 s needs 0.65 GiB of memory."""


class Piece(NamedTuple):
    """A piece of an utterance for one pass: frames ``[first, first + frames)``."""

    first: int
    frames: int


def pieces_of(frames: int, longest: int) -> list[Piece]:
    """Divide ``frames`` into the fewest pieces of nearly equal size, each at most ``longest``."""
    parts = max(1, -(-frames // longest))
    cuts = [round(k * frames / parts) for k in range(parts + 1)]
    return [Piece(a, b - a) for a, b in itertools.pairwise(cuts)]


class FrameExtractor:
    """Compute the frames of sounds of any length, in pieces for the network.

    Args:
        hop: samples between frames.
        window: samples per frame of the front end.
        longest: most frames per piece.
        normalise: normalise each sound to mean 0 and variance 1.
    """

    def __init__(
        self, network: nn.Module, *, hop: int, window: int, longest: int, normalise: bool
    ) -> None:
        self.network = network
        self.hop, self.window, self.longest = hop, window, longest
        self.normalise = normalise

    def count(self, samples: int) -> int:
        """Return the number of frames of a sound with so many samples."""
        return max(0, (samples - self.window) // self.hop + 1)

    def frames(self, sounds: Sequence[FloatArray], device: torch.device) -> list[Tensor]:
        """Compute (F, D) frames on the device for each (S,) sound, ``F = count(S)``.

        Every frame is computed exactly once. Only pieces of equal length share a pass. So there is
        no padding, and a frame does not depend on the other pieces of its batch.
        """
        waves = [self._wave(sound, device) for sound in sounds]
        places = [
            (k, piece)
            for k, wave in enumerate(waves)
            for piece in pieces_of(self.count(len(wave)), self.longest)
        ]
        done: dict[tuple[int, Piece], Tensor] = {}
        by_length: dict[int, list[tuple[int, Piece]]] = {}
        for place in places:
            by_length.setdefault(place[1].frames, []).append(place)
        for count, group in by_length.items():
            together = max(1, PASS_FRAMES // count)
            for start in range(0, len(group), together):
                part = group[start : start + together]
                batch = torch.stack([self._cut(waves[k], piece) for k, piece in part])  # (B, S)
                done.update(zip(part, self._features(batch), strict=True))
        return [
            torch.cat([done[place] for place in places if place[0] == k]) for k in range(len(waves))
        ]

    def _wave(self, sound: FloatArray, device: torch.device) -> Tensor:
        wave = torch.from_numpy(sound)
        if device.type == "cuda":
            wave = wave.pin_memory()
        wave = wave.to(device, non_blocking=True)
        return functional.layer_norm(wave, wave.shape) if self.normalise else wave

    def _cut(self, wave: Tensor, piece: Piece) -> Tensor:
        start = piece.first * self.hop
        return wave[start : start + (piece.frames - 1) * self.hop + self.window]

    def _features(self, batch: Tensor) -> Tensor:  # (B, S) to (B, F, D)
        extract: Callable[..., dict[str, Tensor]] = self.network.extract_features  # type: ignore[assignment]
        return extract(batch, padding_mask=None)["x"]


def interleaved(early: Tensor, late: Tensor) -> Tensor:
    """Merge (F, D) frames and (F or F - 1, D) frames half a hop later, in order of time."""
    merged = early.new_empty(len(early) + len(late), early.shape[1])
    merged[0::2], merged[1::2] = early, late
    return merged


def midpoints(frames: Tensor) -> Tensor:
    """Insert the mean between every two frames: (F, D) → (2F - 1, D)."""
    return interleaved(frames, (frames[:-1] + frames[1:]) / 2)


# -- building


def network_on_meta(model_conf: Mapping[str, Any], classes: int) -> nn.Module:
    """Build funasr's module without its pre-training decoder, on the meta device.

    Args:
        model_conf: checked by :func:`redub.features.models.emotion2vec.checkpoint.read_settings`,
        because
            funasr evaluates ``feature_encoder_spec``.
        classes: rows of the classifier; 0 for none.
    """
    with undisturbed(), funasr_class() as kind, torch.device("meta"):
        network: nn.Module = kind(model_conf=dict(model_conf), vocab_size=classes or -1)
    encoder: Any = network.modality_encoders["AUDIO"]  # type: ignore[index]
    encoder.decoder = None
    if encoder.get_alibi_bias is not None and not encoder.modality_cfg.learned_alibi:
        encoder.get_alibi_bias = distance_bias
    return network.eval()


def distance_bias(
    batch_size: int, time_steps: int, heads: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Compute the (B, H, F, F) attention bias by distance, as in funasr but without its cache.

    It is computed in every pass on the device of the network. funasr's cache holds 16 heads times
    the square of the longest clip, and is built again on the CPU for every longer clip.

    Source: ALiBi (arXiv:2108.12409), "slopes", also for numbers of heads that are not a power of
    two.
    """
    clock = torch.arange(time_steps, device=device, dtype=dtype)
    distance = (clock[None, :] - clock[:, None]).abs()  # (F, F)
    slopes = torch.tensor(slopes_of(heads), device=device, dtype=dtype)
    bias = -slopes[:, None, None] * distance  # (H, F, F)
    return bias.expand(batch_size, -1, -1, -1)


def slopes_of(heads: int) -> list[float]:
    """Compute ALiBi's slope of each head.

    A geometric series for a power of two. For other numbers of heads, the rest takes every second
    slope of the next power of two.
    """
    whole = 1 << (heads.bit_length() - 1)  # the largest power of two up to ``heads``
    ratio = 2.0 ** (-8.0 / whole)
    slopes = [ratio ** (k + 1) for k in range(whole)]
    finer = 2.0 ** (-4.0 / whole)
    return slopes + [finer ** (2 * k + 1) for k in range(heads - whole)]


@contextlib.contextmanager
def funasr_class() -> Iterator[Callable[..., nn.Module]]:
    """Yield funasr's class ``Emotion2vec``, and import only the modules that it needs.

    ``import funasr`` imports all its sub-packages (8 s, 270 MiB, a log handler). If it is not
    loaded yet, an empty package of that name replaces it while the modules of the class load and
    its constructor runs. Afterwards these modules are removed from ``sys.modules``, so that a later
    ``import funasr`` works as usual.
    """
    name = "funasr.models.emotion2vec.model"
    if "funasr" in sys.modules:
        yield importlib.import_module(name).Emotion2vec
        return
    found = importlib.util.find_spec("funasr")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("funasr is not installed", name="funasr")
    package = types.ModuleType("funasr")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["funasr"] = package
    try:
        yield importlib.import_module(name).Emotion2vec
    finally:
        for module in [m for m in sys.modules if m == "funasr" or m.startswith("funasr.")]:
            del sys.modules[module]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the global state of the process that an import may change, and hide its output.

    The state: random generators, thread count, root log handlers and level, environment variables.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    threads, environment = torch.get_num_threads(), dict(os.environ)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            root.handlers[:] = handlers
            root.setLevel(level)
            for name in set(os.environ) - set(environment):
                del os.environ[name]
            os.environ.update(environment)
