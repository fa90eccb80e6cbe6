"""Choose the channel of a sound track that holds the dialogue, from sound all over the source.

A sound track becomes mono by a weighted mean of its channels (:mod:`redub.footage.decode`). That
mean is wrong for three kinds of tracks, which are noticed here: one channel is then used instead.

- Surround sound: the centre channel holds the dialogue, if it is not silent.
- A stereo channel that is silent: the mean would be 6 dB quieter than the other channel.
- Stereo whose right channel is the inverted left one: the mean would be silence.

The choice is made once for a source, so that all of its clips sound alike.
Letters: C channels, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError

if TYPE_CHECKING:
    from redub.footage.container import MediaFile

SILENT_DB = -60.0
"""A channel below this level (dB of full scale) is silent."""

ONE_SIDED_DB = 40.0
"""A stereo channel that is so much quieter than the other one counts as silent, too."""

CENTRE_DB = 30.0
"""A centre channel that is at most so much quieter than all others together holds the dialogue."""

INVERTED = -0.5
"""Below this correlation the mean of two equally loud channels loses more than 6 dB."""

CANCELLING = -0.2
"""Below this correlation the loss is noted; the mean is used."""

INVERTED_SHARE = 0.2
"""Channels are inverted if this share of the sound is, in pieces of ``_PIECE_S``."""

_WAVE = {
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}

_PIECE_S = 1.0
_WHOLE_S = 120.0  # sources up to this length are measured as a whole
_WINDOWS = 40  # of longer sources, spread evenly
_WINDOW_S = 2.0


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """The channel to use, counted from 0, or None for the mean; and a sentence for a choice."""

    channel: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Levels:
    """Mean powers of pieces of a sound track.

    powers: (N, C) of every piece and channel. products: (N,) mean product of left and right.
    names: of the channels, as FFmpeg has them.
    """

    powers: NDArray[np.float64]
    products: NDArray[np.float64]
    names: tuple[str, ...]


def choose_channel(media: MediaFile, length_s: float) -> ChannelChoice:
    """Choose for a source; a track of one channel is not read.

    Args:
        length_s: length of the sound track.
    """
    if media.audio is None or media.audio.codec_context.channels < 2:
        return ChannelChoice()
    levels = _measure(media, length_s)
    return ChannelChoice() if levels is None else chosen_by(levels)


def chosen_by(levels: Levels) -> ChannelChoice:
    """Apply the rules of this module to measured levels."""
    mean = levels.powers.mean(axis=0)  # (C,)
    names = levels.names
    if len(names) > 2:
        return _centre(mean, names)
    loud, quiet = int(np.argmax(mean)), int(np.argmin(mean))
    if _db(mean[loud]) < SILENT_DB:
        return ChannelChoice()
    below_db = _db(mean[loud]) - _db(mean[quiet])
    if _db(mean[quiet]) < SILENT_DB or below_db > ONE_SIDED_DB:
        return ChannelChoice(
            loud, f"the {_word(quiet)} channel is silent: the {_word(loud)} one alone is used"
        )
    return _by_correlation(levels, loud)


def _by_correlation(levels: Levels, loud: int) -> ChannelChoice:
    powers, products = levels.powers, levels.products
    audible = powers.max(axis=1) > 10 ** (SILENT_DB / 10)
    scale = np.sqrt(powers.prod(axis=1)) + 1e-20
    weights = powers.sum(axis=1) * audible
    share = float(weights[products / scale < INVERTED].sum() / weights.sum())
    total = float(products.sum() / (np.sqrt(powers.sum(axis=0).prod()) + 1e-20))
    if share >= INVERTED_SHARE or total < INVERTED:
        return ChannelChoice(
            loud,
            f"the channels cancel each other (correlation {total:.2f}, inverted in {share:.0%} of "
            f"the sound): the {_word(loud)} one alone is used",
        )
    if total < CANCELLING:
        mixed = (powers.mean(axis=0).sum() + 2 * products.mean()) / 4
        loss_db = _db(powers.mean(axis=0).max()) - _db(mixed)
        return ChannelChoice(
            None,
            f"the channels cancel each other partly (correlation {total:.2f}): their mean is "
            f"{loss_db:.0f} dB quieter than the {_word(loud)} channel",
        )
    return ChannelChoice()


def _centre(mean: NDArray[np.float64], names: tuple[str, ...]) -> ChannelChoice:
    """The centre of a surround track, if it holds sound."""
    if "FC" not in names:
        return ChannelChoice(None, f"{len(names)} channels and no centre: their mean is used")
    centre = names.index("FC")
    others = float(np.delete(mean, centre).sum())
    if _db(mean[centre]) >= SILENT_DB and _db(mean[centre]) >= _db(others) - CENTRE_DB:
        return ChannelChoice(
            centre, f"the dialogue is read from the centre of {len(names)} channels"
        )
    if _db(float(mean.max())) < SILENT_DB:
        return ChannelChoice()
    return ChannelChoice(
        None, f"the centre of {len(names)} channels is silent: the mean of all of them is used"
    )


def _measure(media: MediaFile, length_s: float) -> Levels | None:
    powers: list[NDArray[np.float64]] = []
    products: list[float] = []
    names: tuple[str, ...] | None = None
    for start_s, lasts_s in _windows(media, length_s):
        piece: list[NDArray[np.float64]] = []
        try:
            for time_s, frame in media.audio_frames(start_s):
                if time_s > start_s + lasts_s:
                    break
                own = names_of(frame)
                names = names or own
                if own != names:
                    continue  # the layout changes inside the file
                piece.append(channels_of(frame))
                if sum(part.shape[1] for part in piece) >= _PIECE_S * frame.sample_rate:
                    _add(piece, powers, products)
        except ClipError:
            pass  # the clips with the damage are refused later, with their places
        _add(piece, powers, products)
    if names is None or not powers:
        return None
    return Levels(np.array(powers), np.array(products), names)


def _windows(media: MediaFile, length_s: float) -> list[tuple[float, float]]:
    """(start, length) in seconds of the pieces to read."""
    begin_s = media.audio_start_s
    if length_s <= _WHOLE_S or not media.can_seek:
        return [(begin_s, length_s)]
    starts = np.linspace(begin_s, begin_s + length_s - _WINDOW_S, _WINDOWS)
    return [(float(start_s), _WINDOW_S) for start_s in starts]


def _add(
    piece: list[NDArray[np.float64]], powers: list[NDArray[np.float64]], products: list[float]
) -> None:
    """Add the means of one piece, and empty it."""
    if not piece:
        return
    samples = np.nan_to_num(np.concatenate(piece, axis=1))  # (C, S)
    piece.clear()
    if samples.shape[1]:
        powers.append((samples**2).mean(axis=1))
        products.append(float((samples[0] * samples[1]).mean()))


def names_of(frame: Any) -> tuple[str, ...]:
    """FFmpeg's names of a frame's channels.

    PCM in Matroska and AVI has no names. Six and eight channels are then those of 5.1 and 7.1 in
    the order of WAVE files, which is the order in which such sound is stored.
    """
    names = tuple(channel.name for channel in frame.layout.channels)
    return names if any(name != "NONE" for name in names) else _WAVE.get(len(names), names)


def channels_of(frame: Any) -> NDArray[np.float64]:
    """(C, S) samples of a PyAV sound frame; full scale is 1."""
    samples = frame.to_ndarray()
    count = len(frame.layout.channels)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, count).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float64(-int(np.iinfo(samples.dtype).min))
    return np.asarray(samples, np.float64)


def _word(channel: int) -> str:
    return ("left", "right")[channel]


def _db(power: float) -> float:
    return float(10 * np.log10(power + 1e-30))
