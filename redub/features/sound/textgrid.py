"""Durations from imported alignments: one Praat TextGrid per clip, as the MFA writes them.

The times of a TextGrid count from the start of its clip. The name of a file decides to which clip
it belongs, see :mod:`redub.features.clip_files`. Its length must be that of the clip, so an
alignment of another time span is refused.
Source: the text formats of the Praat manual ("TextGrid file formats"; the long and the short format
have the same sequence of values); the rule for durations and the names of pauses are those of the
HPMDubbing and FastSpeech 2 preprocessors: frames = round(end · sr / hop) − round(start · sr / hop).
Letters: T mel frames, P phonemes, R rows (phonemes and the pauses between them).
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import PAUSES, id_of, symbol_of
from redub.core.types import AudioSpec, ClipMedia
from redub.features.base import FeatureSchema, Media, WeightUser, frames_of
from redub.features.clip_files import file_of
from redub.features.runtime import Runtime
from redub.features.sound.durations import TimedPhone, rows_on_mel_clock
from redub.features.sound.samples import waveform_of
from redub.features.text.pronunciation import plain_phone
from redub.features.weights.folder import WeightFolder

KIND = "textgrids"
SUFFIX = ".TextGrid"
SILENT_LABELS = frozenset(("", *PAUSES, "<eps>"))
"""Labels of intervals without speech; the MFA writes nothing, ``sil``, ``sp`` or ``spn``."""

UNKNOWN_WORD = "spn"  # the MFA's phone for noise and for words that are not in its dictionary

LENGTH_TOLERANCE_S = 0.1
"""Clips lie on the grid of 1/25 s, and sound can be up to 60 ms longer than the video."""

_MAX_BYTES = 8 << 20
_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)'
    r"|(?P<comment>!.*)|(?P<flag><\w+>)|[^\s\"]+"
)


class Interval(NamedTuple):
    """One labelled time interval, in seconds."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True)
class TextGrid:
    """The content of one file: name → interval tier; point tiers are ignored."""

    end_s: float
    tiers: Mapping[str, tuple[Interval, ...]]


def parse_textgrid(data: bytes) -> TextGrid:
    """Read the long or the short text format, in UTF-8 or UTF-16.

    Raises:
        ValueError: says what is wrong with the file.
    """
    tokens = _tokens(_decoded(data))
    try:
        if _text(tokens) not in ("ooTextFile", "ooTextFile short") or _text(tokens) != "TextGrid":
            raise ValueError("it does not begin like a TextGrid")
        _number(tokens)
        end_s = _number(tokens)
        tiers: dict[str, tuple[Interval, ...]] = {}
        for _ in range(int(_number(tokens))):
            kind, name = _text(tokens), _text(tokens)
            _number(tokens), _number(tokens)
            count = int(_number(tokens))
            if kind == "IntervalTier":
                if name in tiers:
                    raise ValueError(f"it has two tiers '{name}'")
                tiers[name] = _intervals(tokens, count)
            elif kind == "TextTier":
                for _ in range(count):
                    _number(tokens), _text(tokens)
            else:
                raise ValueError(f"it has a tier of the unknown kind '{kind}'")
    except StopIteration:
        raise ValueError("it ends too early") from None
    for name, tier in tiers.items():
        _check_times(name, tier)
    return TextGrid(end_s, tiers)


def _decoded(data: bytes) -> str:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("it is neither UTF-8 nor UTF-16") from None


def _tokens(text: str) -> Iterator[str | float]:
    """Yield texts and free-standing numbers in order; the rest is a comment, as in Praat."""
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["number"] is not None:
            yield float(match["number"])


def _intervals(tokens: Iterator[str | float], count: int) -> tuple[Interval, ...]:
    tier = []
    for _ in range(count):  # not a generator, because StopIteration must reach the caller
        start_s, end_s, label = _number(tokens), _number(tokens), _text(tokens)
        tier.append(Interval(start_s, end_s, label.strip()))
    return tuple(tier)


def _text(tokens: Iterator[str | float]) -> str:
    token = next(tokens)
    if not isinstance(token, str):
        raise ValueError(f"it has the number {token:g} instead of a text")
    return token


def _number(tokens: Iterator[str | float]) -> float:
    token = next(tokens)
    if isinstance(token, str):
        raise ValueError(f"it has the text '{token[:40]}' instead of a number")
    if not math.isfinite(token):
        raise ValueError("it has an infinite number")
    return token


def _check_times(name: str, tier: Sequence[Interval]) -> None:
    last_s = 0.0
    for place, (start_s, end_s, _) in enumerate(tier, start=1):
        if start_s < last_s - 1e-6 or end_s < start_s:
            raise ValueError(
                f"interval {place} of the tier '{name}' goes from {start_s:g} to {end_s:g} s, the "
                f"interval before ends at {last_s:g} s"
            )
        last_s = end_s


def phone_tier(grid: TextGrid, name: str) -> tuple[Interval, ...]:
    """Return the tier called ``name``, or else the only tier called ``<speaker> - name``.

    Raises:
        ValueError: no such tier, or several.
    """
    fits = [tier for tier in grid.tiers if tier.lower() == name.lower()]
    fits = fits or [t for t in grid.tiers if t.lower().endswith(f" - {name.lower()}")]
    if len(fits) != 1:
        found = ", ".join(grid.tiers) or "none"
        raise ValueError(f"it has {len(fits)} interval tiers '{name}' (found: {found})")
    return grid.tiers[fits[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGridConfig:
    """Settings of the backend ``textgrid`` of the feature ``durations``.

    Attributes:
        weights: entry of the weights ledger.
        tier: name of the tier with the phones.
        variants: what to do if the alignment has another pronunciation than the ``phonemes``
            feature. ``refuse`` gives no durations for the clip; ``keep`` uses the phones of the
            alignment. A dubber is then trained on phones that differ from those of the dictionary.
    """

    audio: AudioSpec
    weights: str = KIND
    tier: str = "phones"
    variants: Literal["refuse", "keep"] = "refuse"


class TextGridDurations(WeightUser):
    """Compute (R, 2) int32 rows of (phoneme id, mel frames) from TextGrids; they sum to T.

    Each pause is one row ``sil``, also before the first and after the last phone. The other rows
    are the ``phonemes`` feature, unless variants are kept.
    """

    media: ClassVar[frozenset[Media]] = frozenset({"waveform", "text"})
    reads: ClassVar[tuple[str, ...]] = ("phonemes",)
    Config: ClassVar[type] = TextGridConfig

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        super().__init__(config, folders, runtime)
        self.audio: AudioSpec = config.audio

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the entry with the TextGrids."""
        return {KIND: (config.weights, KIND)}

    @property
    def schema(self) -> FeatureSchema:
        """Rows of two int32."""
        return FeatureSchema(kind="frames", width=2, dtype="int32")

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        """Convert the phones of one clip to rows of mel frames.

        Raises:
            FeatureAbsent: E-ALIGN-NOFILE, the clip has no TextGrid; E-ALIGN-FILE, it cannot be
                read or has another length; E-ALIGN-DIFFERS, it has other phones.
        """
        samples = len(waveform_of(media).samples)
        folder, clip = self.folders[KIND], media.clip
        name = file_of(clip, sorted(folder.files), SUFFIX, code="E-ALIGN-FILE")
        if name is None:
            raise FeatureAbsent(
                f"no {clip.clip_id}{SUFFIX} among the {len(folder.files)} files of '{folder.name}'",
                code="E-ALIGN-NOFILE",
            )
        try:
            grid = parse_textgrid(folder.file(name).read_bytes())
            phones = _spoken(
                phone_tier(grid, self.config.tier), keep=self.config.variants == "keep"
            )
        except ValueError as error:
            raise FeatureAbsent(f"{name} cannot be used: {error}", code="E-ALIGN-FILE") from error
        length_s = samples / self.audio.sample_rate_hz
        if abs(grid.end_s - length_s) > LENGTH_TOLERANCE_S:
            raise FeatureAbsent(
                f"{name} is {grid.end_s:.2f} s long, the clip {length_s:.2f} s; align exactly the "
                "sound of the clip",
                code="E-ALIGN-FILE",
            )
        if self.config.variants == "refuse":
            _check_phones(name, phones, frames_of(media.features, "phonemes")[:, 0])
        return rows_on_mel_clock(phones, self.audio, self.audio.frame_count(samples))


def _spoken(tier: Sequence[Interval], *, keep: bool) -> list[TimedPhone]:
    """The intervals with phones.

    Raises:
        ValueError: a label is neither a phone nor a pause, or there is no phone at all; with
            ``keep`` also a label that may stand for an unknown word.
    """
    spoken = []
    for start_s, end_s, label in tier:
        if keep and label.lower() == UNKNOWN_WORD:
            raise ValueError(
                f"'{label}' at {start_s:.2f} s may be a word that the aligner did not know"
            )
        if label.lower() in SILENT_LABELS:
            continue
        phone = plain_phone(label)
        if phone is None:
            raise ValueError(
                f"'{label}' at {start_s:.2f} s is not an ARPAbet phone; align with an ARPAbet model"
            )
        spoken.append(TimedPhone(id_of(phone), start_s, end_s))
    if not spoken:
        raise ValueError("it has no phone, only pauses")
    return spoken


def _check_phones(name: str, phones: Sequence[TimedPhone], wanted: NDArray[np.int32]) -> None:
    """Raise FeatureAbsent (E-ALIGN-DIFFERS) at the first phone that differs."""
    for place, (phone, want) in enumerate(zip(phones, wanted, strict=False), start=1):
        if phone.phoneme != want:
            raise FeatureAbsent(
                f"{name} has {symbol_of(phone.phoneme)} at {phone.start_s:.2f} s as phone {place} "
                f"of {len(phones)}, the phonemes feature has {symbol_of(int(want))} (of "
                f'{len(wanted)}); use the lexicon it was aligned with, or variants = "keep"',
                code="E-ALIGN-DIFFERS",
            )
    if len(phones) != len(wanted):
        raise FeatureAbsent(
            f"{name} has {len(phones)} phones, the phonemes feature {len(wanted)}; the first "
            f"{min(len(phones), len(wanted))} are the same; check the clip's text",
            code="E-ALIGN-DIFFERS",
        )
