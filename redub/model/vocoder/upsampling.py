"""Upsampling rates and paddings of vocoders, so that T mel frames become exactly T hops.

A transposed convolution with stride u and kernel k makes (T - 1) u - 2 p + k + o samples from T.
Two conventions for the padding p and the output padding o are in use. Tensor shapes are the same in
both, so that a checkpoint loads without an error in the wrong convention, but its output has the
wrong length.

Source: HiFi-GAN (arXiv:2010.05646), section 2.2.

Letters: T input frames, u rate, k kernel, p padding, o output padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from redub.core.errors import ModelRefusedError

PaddingName = Literal["auto", "upstream", "output_padding"]
VARIANTS: tuple[PaddingName, ...] = ("upstream", "output_padding")
LARGEST_RATE = 64


class Padding(NamedTuple):
    """Padding p and output padding o of a transposed convolution."""

    padding: int
    output_padding: int


def padding_of(rate: int, kernel: int, variant: PaddingName) -> Padding:
    """Compute the padding of one stage.

    ``upstream``: p = (k - u) / 2 rounded down, as published by HiFi-GAN and BigVGAN; exact if k - u
    is even. ``output_padding`` (and ``auto``): p = u/2 rounded up, o = 1 for odd u; exact if
    k = 2 u; used by the vocoders of the dubbing repositories, which have odd rates.
    """
    if variant == "upstream":
        return Padding((kernel - rate) // 2, 0)
    return Padding(rate // 2 + rate % 2, rate % 2)


def surplus(rate: int, kernel: int, padding: Padding) -> int:
    """Compute how many samples a stage makes in addition to T u; independent of T."""
    return kernel - rate - 2 * padding.padding + padding.output_padding


def exact_paddings(
    rates: Sequence[int], kernels: Sequence[int], variant: PaddingName, hop_samples: int
) -> list[Padding]:
    """Compute the padding of every stage so that T frames become exactly T hops.

    ``auto`` chooses the variant that is exact; if both are exact, their paddings are equal.

    Raises:
        ModelRefusedError: E-MODEL-LENGTH, the product of the rates is not the hop, or the variant
            (with ``auto``: every variant) gives another length.
    """
    _check_rates(rates, kernels, hop_samples)
    lengths = []
    for name in VARIANTS if variant == "auto" else (variant,):
        chosen = [padding_of(u, k, name) for u, k in zip(rates, kernels, strict=True)]
        rest = [surplus(u, k, p) for u, k, p in zip(rates, kernels, chosen, strict=True)]
        if not any(rest) and all(p.padding >= 0 for p in chosen):
            return chosen
        frames = 50
        lengths.append(f"'{name}' makes {_length(frames, rates, rest)} samples of {frames} frames")
    raise ModelRefusedError(
        f"upsampling by {list(rates)} with kernels {list(kernels)}: {' and '.join(lengths)}, "
        f"wanted {frames * hop_samples}; set generator.padding (upsample_padding in a "
        "config.json) to the other variant or correct the kernels",
        code="E-MODEL-LENGTH",
    )


def _check_rates(rates: Sequence[int], kernels: Sequence[int], hop_samples: int) -> None:
    if not rates or len(rates) != len(kernels):
        raise ModelRefusedError(
            f"{len(rates)} upsampling rates and {len(kernels)} kernels; wanted equal numbers, at "
            "least one",
            code="E-MODEL-LENGTH",
        )
    if min(rates) < 2 or max(rates) > LARGEST_RATE or min(kernels) < 2:
        raise ModelRefusedError(
            f"upsampling rates {list(rates)} with kernels {list(kernels)}; wanted rates of 2 to "
            f"{LARGEST_RATE} and kernels of at least 2",
            code="E-MODEL-LENGTH",
        )
    product = 1
    for rate in rates:
        product *= rate
    if product != hop_samples:
        raise ModelRefusedError(
            f"upsampling by {list(rates)} makes {product} samples of a frame; audio.hop_samples "
            f"is {hop_samples}",
            code="E-MODEL-LENGTH",
        )


def _length(frames: int, rates: Sequence[int], rest: Sequence[int]) -> int:
    for rate, more in zip(rates, rest, strict=True):
        frames = frames * rate + more
    return frames


def rates_of(
    hop_samples: int, known: Mapping[int, tuple[int, ...]], stages: int
) -> tuple[int, ...]:
    """Choose upsampling rates whose product is the hop.

    Returns the published rates where they are known, otherwise the prime factors of the hop,
    largest first.

    Args:
        known: hop → published rates.
        stages: largest number of rates; the smallest factors are multiplied until it is met.
    """
    if hop_samples in known:
        return known[hop_samples]
    factors, rest, divisor = [], hop_samples, 2
    while rest > 1:
        while rest % divisor == 0:
            factors.append(divisor)
            rest //= divisor
        divisor += 1
    while len(factors) > stages:
        first, second, *others = sorted(factors)
        factors = [*others, first * second]
    return tuple(sorted(factors, reverse=True))
