"""Draw one utterance as predicted and as recorded: mel spectrograms, pitch and durations.

Uses a canvas object of matplotlib and no global state, so that the same arrays give the same bytes
(with the same version of matplotlib).

Letters: P phonemes, T mel frames, C mel channels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.extras import optional
from redub.core.types import ByteArray, FloatArray
from redub.pages.media import MEL_FLOOR

PICTURE_BYTES = 120_000
INCHES, DOTS_PER_INCH = (4.2, 4.5), 200
SHADES = (64, 32, 16, 8, 4)  # tried in order until the image is small; noise compresses badly
MEL_COLUMNS = 480
TEXT_PT, SYMBOL_PT, ROW_PT = 7.4, 4.9, 4.2
SYMBOL_SHARE = 0.011  # share of the utterance; narrower bars have no room for their symbol
INK, RECORDED, PREDICTED, QUIET = "#1d1b18", "#8b857b", "#c2452d", "#68635b"


class Reading(NamedTuple):
    """One utterance as arrays; ``f0_hz`` is 0 where unvoiced, and None if no pitch is known."""

    mel: FloatArray  # (T, C) natural log
    f0_hz: FloatArray | None  # (T,)
    durations: NDArray[Any]  # (P,) mel frames


def comparison_png(
    predicted: Reading, recorded: Reading, symbols: Sequence[str], *, title: str, hop_s: float
) -> bytes:
    """Draw the predicted and the recorded utterance on one time axis.

    Args:
        symbols: (P,) names of the phonemes, the same for both.
        title: text above the image; characters outside ASCII become ``?``.
        hop_s: seconds between mel frames.

    Returns:
        A PNG of 840 x 900 pixels. The number of mel shades is reduced, down to 4, until it has at
        most 120 kB.
    """
    for shades in SHADES:
        picture = _drawn(predicted, recorded, symbols, title, hop_s, shades)
        if len(picture) <= PICTURE_BYTES:
            break
    return picture


def plotting_library() -> Any:
    """matplotlib, with the submodules that are used here.

    Raises:
        MissingExtraError: the extra 'plots' is not installed.
    """
    purpose = "Pictures of samples"
    matplotlib = optional("matplotlib", extra="plots", purpose=purpose)
    optional("matplotlib.backends.backend_agg", extra="plots", purpose=purpose)
    optional("matplotlib.figure", extra="plots", purpose=purpose)
    optional("matplotlib.ticker", extra="plots", purpose=purpose)
    return matplotlib


def _drawn(
    predicted: Reading,
    recorded: Reading,
    symbols: Sequence[str],
    title: str,
    hop_s: float,
    shades: int,
) -> bytes:
    matplotlib = plotting_library()
    figure = matplotlib.figure.Figure(figsize=INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    canvas = matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        4, 2, left=0.12, right=0.89, top=0.92, bottom=0.08, hspace=0.38, wspace=0.035,
        height_ratios=(1.15, 1.15, 0.9, 0.85), width_ratios=(40, 1),
    )  # fmt: skip
    span_s = max(len(predicted.mel), len(recorded.mel)) * hop_s
    axes = [figure.add_subplot(grid[row, 0]) for row in range(4)]
    for place in axes:
        place.set_xlim(0.0, span_s)
        place.tick_params(labelsize=TEXT_PT - 1, length=2, width=0.5, pad=1.5, colors=QUIET)
        place.tick_params(labelbottom=place is axes[-1])
        for side in place.spines.values():
            side.set_linewidth(0.5)
            side.set_color(QUIET)
    _draw_mels(figure, grid, axes[:2], predicted, recorded, hop_s, shades)
    _draw_pitch(axes[2], predicted, recorded, hop_s)
    _draw_durations(axes[3], predicted, recorded, symbols, hop_s)
    axes[3].set_xlabel("time, s", fontsize=TEXT_PT, color=INK, labelpad=2)
    plain = title.encode("ascii", "replace").decode()
    figure.text(
        0.12, 0.972, plain, fontsize=TEXT_PT + 1, color=INK, weight="bold", parse_math=False
    )
    canvas.draw()
    return _palette_png(np.asarray(canvas.buffer_rgba())[:, :, :3])


def _palette_png(pixels: ByteArray) -> bytes:
    """Encode (H, W, 3) RGB pixels as a PNG of their 256 most frequent colours.

    Its size is a third of that of an RGB PNG.

    Source: PNG, W3C recommendation, second edition: IHDR, PLTE, IDAT (filter 0), IEND.
    """
    codes = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)  # (H, W)
    colours, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    kept = _rgb(colours[np.argsort(-counts, kind="stable")[:256]])
    distance = ((_rgb(colours)[:, None] - kept) ** 2).sum(axis=-1)
    levels = distance.argmin(axis=1)[place].reshape(codes.shape).astype(np.uint8)
    rows = np.concatenate([np.zeros((len(levels), 1), np.uint8), levels], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", kept.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _rgb(codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Convert (n,) 24-bit codes to (n, 3) red, green, blue."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int64)


def _titled(axes: Any, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=TEXT_PT, color=INK, loc="left", pad=2.5)
    axes.set_ylabel(unit, fontsize=TEXT_PT, color=INK, labelpad=2)


def _draw_mels(
    figure: Any,
    grid: Any,
    axes: Sequence[Any],
    predicted: Reading,
    recorded: Reading,
    hop_s: float,
    shades: int,
) -> None:
    loudest = max(float(np.max(reading.mel)) for reading in (predicted, recorded))
    matplotlib = plotting_library()
    colours = matplotlib.colormaps["magma"].resampled(shades)
    for place, reading, name in zip(
        axes, (predicted, recorded), ("predicted mel", "recorded mel"), strict=True
    ):
        frames, channels = reading.mel.shape
        image = place.imshow(
            _pooled(reading.mel).T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0.0, frames * hop_s, 0.0, float(channels)),
            cmap=colours,
            vmin=loudest - MEL_FLOOR,
            vmax=loudest,
        )
        place.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3, integer=True))
        _titled(place, name, "mel channel")
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[:2, 1]))
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=TEXT_PT - 1, length=2, width=0.5, pad=1.5, colors=QUIET)
    bar.set_label("natural log of the mel amplitude", fontsize=TEXT_PT, color=INK, labelpad=2)


def _pooled(mel: FloatArray) -> NDArray[np.float64]:
    """Reduce a mel to at most 480 columns, each the mean of adjacent frames."""
    columns = np.asarray(mel, np.float64)
    if len(mel) <= MEL_COLUMNS:
        return columns
    edges = np.linspace(0, len(mel), MEL_COLUMNS + 1).astype(int)
    means: NDArray[np.float64] = np.add.reduceat(columns, edges[:-1]) / np.diff(edges)[:, None]
    return means


def _draw_pitch(axes: Any, predicted: Reading, recorded: Reading, hop_s: float) -> None:
    _titled(axes, "pitch (gaps are unvoiced)", "F0, Hz")
    voiced = []
    for reading, name, colour, width in (
        (recorded, "recorded", RECORDED, 1.5),
        (predicted, "predicted", PREDICTED, 0.9),
    ):
        if reading.f0_hz is None:
            continue
        seconds = (np.arange(len(reading.f0_hz)) + 0.5) * hop_s
        track = np.where(_is_voiced(reading.f0_hz), reading.f0_hz, np.nan)
        axes.plot(seconds, track, color=colour, linewidth=width, label=name, solid_capstyle="round")
        voiced.append(track[np.isfinite(track)])
    pitches = np.concatenate(voiced) if voiced else np.zeros(0)
    axes.set_yscale("log")
    low, high = (float(pitches.min()), float(pitches.max())) if len(pitches) else (80.0, 320.0)
    axes.set_ylim(low / 1.1, high * 1.1)
    ticks = [hz for hz in (50, 75, 100, 150, 200, 300, 400, 600) if low / 1.1 <= hz <= high * 1.1]
    axes.set_yticks(ticks, [str(hz) for hz in ticks])
    ticker = plotting_library().ticker
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(axis="y", linewidth=0.3, color="#e3ded5")
    if voiced:
        axes.legend(
            fontsize=TEXT_PT - 1, frameon=False, ncols=2, loc="lower right", handlelength=1.4,
            bbox_to_anchor=(1.0, 0.94), borderaxespad=0.0, columnspacing=1.0,
        )  # fmt: skip


def _is_voiced(f0_hz: FloatArray) -> NDArray[np.bool_]:
    return np.isfinite(f0_hz) & (f0_hz > 0)


def _draw_durations(
    axes: Any, predicted: Reading, recorded: Reading, symbols: Sequence[str], hop_s: float
) -> None:
    _titled(axes, "phoneme durations", "")
    axes.set_ylim(0.0, 2.0)
    axes.set_yticks((0.5, 1.5), ("recorded", "predicted"), rotation=90, va="center")
    axes.tick_params(axis="y", length=0, labelsize=ROW_PT)
    span_s = axes.get_xlim()[1]
    to_rgba = plotting_library().colors.to_rgba
    for bottom, reading, colour in ((0.0, recorded, RECORDED), (1.0, predicted, PREDICTED)):
        ends = np.cumsum(reading.durations) * hop_s
        widths = np.asarray(reading.durations) * hop_s
        axes.broken_barh(
            list(zip(ends - widths, widths, strict=True)),
            (bottom + 0.06, 0.88),
            facecolors=[to_rgba(colour, 0.2 + 0.22 * (n % 2)) for n in range(len(ends))],
            edgecolor="white",
            linewidth=0.3,
        )
        for end, width, symbol in zip(ends, widths, symbols, strict=True):
            if width >= SYMBOL_SHARE * span_s:
                axes.text(
                    end - width / 2, bottom + 0.5, symbol, rotation=90, fontsize=SYMBOL_PT,
                    color=INK, ha="center", va="center", parse_math=False, clip_on=True,
                )  # fmt: skip
