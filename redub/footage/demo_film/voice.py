"""A formant synthesiser: it turns phones with times, a pitch curve and a style into sound.

Every glottal pulse and every 5 ms of noise gets a separate vocal-tract spectrum. All spectra are
computed at once and overlap-added, so a line needs only a few matrix operations.

Source: Klatt, "Software for a cascade/parallel formant synthesizer" (JASA 67, 1980): digital
resonators in cascade, nasal pole and zero, parallel friction; formants move by dominance
blending (Löfqvist 1990; Cohen & Massaro 1993).
Letters: N control frames (5 ms), G glottal pulses, A formant anchors, K spectrum bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray, Waveform
from redub.footage.demo_film.phonetics import NOISE_BANDS, SOUNDS, VOWELS
from redub.footage.demo_film.timing import FRAME_SAMPLES, SAMPLE_RATE_HZ, Segment, frame_owner

FFT = 512  # 32 ms: a resonance of 60 Hz bandwidth decays by 50 dB
NOISE_FFT = 480
FRACTIONS = 32  # a pulse starts at a multiple of 1/32 sample
REFERENCE_DB = -25.0  # RMS of a neutral vowel, dB relative to full scale
BLEND_S = 0.022
UPPER_FORMANTS = (
    (3450.0, 310.0), (4350.0, 420.0), (5400.0, 560.0), (6450.0, 700.0), (7400.0, 840.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """The voice of a speaker.

    Attributes:
        f0_hz: mean pitch.
        formant_scale: scales the formant frequencies; above 1 is a shorter vocal tract.
        tilt_db: brightness of the glottal pulses.
        breath: 0–1 part of aspiration noise.
        bandwidth_scale: scales the formant bandwidths.
        tempo: scales the speech rate; 1 is normal.
    """

    f0_hz: float
    formant_scale: float
    tilt_db: float
    breath: float
    bandwidth_scale: float = 1.0
    tempo: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """The voice quality of one line.

    Attributes:
        energy_db: level relative to a neutral vowel.
        tilt_db: brightness of the glottal pulses, from about -10 (dull) to +10 (pressed).
        breath: 0–1 part of aspiration noise.
        tremor: 0–1 depth of the 5.5 Hz amplitude modulation.
    """

    energy_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.05
    tremor: float = 0.0


def _resonator(
    frequency_hz: FloatArray, bandwidth_hz: FloatArray, delay: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Denominator of Klatt's resonator with unit gain at 0 Hz: (N,) values → (N, K)."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
    b = (2 * radius * np.cos(2 * np.pi * frequency_hz / SAMPLE_RATE_HZ)).astype(np.float32)
    c = (-(radius**2)).astype(np.float32)
    gain = (1 / (1 - b - c)).astype(np.float32)
    rows: NDArray[np.complex64] = (
        gain[:, None] - (gain * b)[:, None] * delay - (gain * c)[:, None] * delay**2
    )
    return rows


def _delay(fft: int) -> NDArray[np.complex64]:
    delay: NDArray[np.complex64] = np.exp(-2j * np.pi * np.arange(fft // 2 + 1) / fft).astype(
        np.complex64
    )
    return delay


@dataclass(frozen=True, slots=True)
class Controls:
    """The control values of the synthesiser per 5 ms frame, (N,) unless noted."""

    formants_hz: FloatArray  # (N, 3)
    voicing: FloatArray  # linear, 1 = a neutral vowel
    aspiration: FloatArray  # linear
    friction: FloatArray  # linear
    colour: NDArray[np.intp]  # row of the friction spectra
    nasality: FloatArray  # 0–1
    muffle: FloatArray  # 0–1, 1 behind a closed mouth


def _smooth(track: FloatArray, width: int) -> FloatArray:
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(track, width // 2, mode="edge")
    result: FloatArray = np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)
    return result


def formant_tracks(segments: list[Segment]) -> FloatArray:
    """Blend the formant targets of all phones by dominance; (N, 3) Hz for a 17 cm vocal tract."""
    spans, targets, pulls = [], [], []
    for segment in segments:
        sound, length = SOUNDS[segment.symbol], segment.end - segment.start
        target = sound.formants_hz
        if sound.kind == "vowel" and not segment.accented and segment.symbol == "AH":
            target = (520.0, 1400.0, 2450.0)  # schwa
        if sound.glide_to_hz:
            parts = [(0.15, 0.4, target), (0.75, 0.9, sound.glide_to_hz)]
        elif sound.kind in ("stop", "affricate"):
            parts = [(0.2, 0.9, target)]
        else:
            parts = [(0.3, 0.7, target)]
        for start, end, values in parts:
            spans.append((segment.start + start * length, segment.start + end * length))
            targets.append(values)
            pulls.append(sound.pull)
    span = np.array(spans) / SAMPLE_RATE_HZ  # (A, 2)
    frames = segments[-1].end // FRAME_SAMPLES
    clock = ((np.arange(frames) + 0.5) * FRAME_SAMPLES / SAMPLE_RATE_HZ)[:, None]  # (N, 1)
    outside = np.maximum(np.maximum(span[:, 0] - clock, clock - span[:, 1]), 0)  # (N, A)
    weight = np.exp(-outside / BLEND_S)[:, :, None] * np.array(pulls)  # (N, A, 3)
    blended: FloatArray = ((weight * np.array(targets)).sum(axis=1) / weight.sum(axis=1)).astype(
        np.float32
    )
    return blended


def _colours() -> tuple[list[str], FloatArray]:
    """Names and (colours, K) magnitude spectra of friction, each of unit mean power."""
    hertz = np.fft.rfftfreq(NOISE_FFT, 1 / SAMPLE_RATE_HZ)
    rows = []
    for bands in NOISE_BANDS.values():
        power = sum(
            10 ** (level / 10) * np.exp(-(((hertz - centre) / width) ** 2))
            for centre, width, level in bands
        )
        power = power + 10**-2.8  # real friction has some power at every frequency
        rows.append(np.sqrt(power / np.mean(power)))
    return list(NOISE_BANDS), np.array(rows, dtype=np.float32)


COLOUR_NAMES, COLOURS = _colours()


def controls_of(segments: list[Segment]) -> Controls:
    """Compute the control values of a sequence of phones."""
    frames = segments[-1].end // FRAME_SAMPLES
    voicing, friction = np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    aspiration, nasality = np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    muffle, colour = np.zeros(frames, np.float32), np.zeros(frames, np.intp)
    for index, segment in enumerate(segments):
        sound = SOUNDS[segment.symbol]
        first, last = segment.start // FRAME_SAMPLES, segment.end // FRAME_SAMPLES
        following = segments[index + 1] if index + 1 < len(segments) else None
        if sound.voice_db is not None:
            lift = 1.5 if segment.accented else 0.0
            voicing[first:last] = 10 ** ((sound.voice_db + lift) / 20)
        nasality[first:last] = sound.kind == "nasal"
        if sound.is_voiced:
            closed = {"stop": 1.0, "affricate": 1.0, "nasal": 0.06, "fricative": 0.3}
            muffle[first:last] = closed.get(sound.kind, 0.0)
        if sound.noise_db is None:
            continue
        level = 10 ** (sound.noise_db / 20)
        if sound.kind == "aspirate":
            aspiration[first:last] = level
            continue
        name = sound.noise
        if name == "velar front" and following and _is_back(following.symbol):
            name = "velar back"
        colour[max(first - 2, 0) : last + 2] = COLOUR_NAMES.index(name)
        if sound.kind == "stop":
            before_vowel = following is not None and following.symbol in VOWELS
            open_frames = 2 if sound.is_voiced else (6 if before_vowel else 4)
            open_frames = min(open_frames, (last - first) // 2)
            release = last - open_frames
            friction[release : release + 2] = level
            if not sound.is_voiced:
                aspiration[release + 1 : last] = 10 ** (-18 / 20)
        elif sound.kind == "affricate":
            release = first + round((last - first) * 0.4)
            friction[release:last] = level
            voicing[release:last] *= 0.7
        else:
            friction[first:last] = level
    return Controls(
        formant_tracks(segments),
        _smooth(voicing, 3),
        _smooth(aspiration, 3),
        _smooth(friction, 3),
        colour,
        _smooth(nasality, 7),
        _smooth(muffle, 3),
    )


def _is_back(symbol: str) -> bool:
    return SOUNDS[symbol].formants_hz[1] < 1450


def pulse_times(f0_hz: FloatArray) -> NDArray[np.float64]:
    """Return the (G,) positions of the glottal pulses in samples, from one pitch per frame."""
    samples = len(f0_hz) * FRAME_SAMPLES
    centres = (np.arange(len(f0_hz)) + 0.5) * FRAME_SAMPLES
    per_sample = np.interp(np.arange(samples), centres, f0_hz) / SAMPLE_RATE_HZ
    phase = np.cumsum(per_sample)  # in periods
    times: NDArray[np.float64] = np.interp(np.arange(1, int(phase[-1])), phase, np.arange(samples))
    return times


def _tract(
    voice: Voice, formants_hz: FloatArray, nasality: FloatArray, fft: int
) -> NDArray[np.complex64]:
    """Transfer function of the vocal tract: (N, K)."""
    delay, wide = _delay(fft), voice.bandwidth_scale
    scaled = formants_hz * voice.formant_scale
    poles = np.ones((len(scaled), len(delay)), np.complex64)
    ones = np.ones(len(scaled), np.float32)
    for column, base in enumerate((50.0, 110.0, 95.0)):
        bandwidth = base * wide * (1 + 1.0 * nasality) + 0.02 * scaled[:, column]
        poles *= _resonator(scaled[:, column], bandwidth, delay)
    upper = np.ones((1, len(delay)), np.complex64)
    for frequency, bandwidth_hz in UPPER_FORMANTS:
        at = np.array([frequency * voice.formant_scale], np.float32)
        if at[0] > 7700:
            continue  # too close to the Nyquist frequency of 16 kHz sound
        upper *= _resonator(at, np.array([bandwidth_hz * wide], np.float32), delay)
    tract = 1 / (poles * upper)
    is_nasal = nasality > 0.01
    if is_nasal.any():
        some = ones[is_nasal]
        zero = _resonator(270 + 340 * nasality[is_nasal], 100 * some, delay)
        tract[is_nasal] *= zero / _resonator(270 * some, 100 * some, delay)
    result: NDArray[np.complex64] = tract.astype(np.complex64)
    return result


def _train_rms(power: FloatArray, pitch: FloatArray) -> FloatArray:
    """The (G,) RMS of each pulse, repeated at its pitch, from (G, K) squared magnitudes.

    A pulse train has only harmonics, so its power is the sum of the pulse's power spectrum at the
    multiples of the pitch (Parseval). Between bins the spectrum is interpolated.
    """
    bins_per_hertz = FFT / SAMPLE_RATE_HZ
    harmonic = np.arange(1, int(SAMPLE_RATE_HZ / 2 / pitch.min()) + 1, dtype=np.float32)
    at = harmonic * pitch[:, None] * bins_per_hertz  # (G, harmonics)
    below = np.minimum(at.astype(np.intp), FFT // 2 - 1)
    share = np.clip(at - below, 0, 1)
    rows = np.arange(len(power))[:, None]
    sampled = power[rows, below] * (1 - share) + power[rows, below + 1] * share
    sampled = np.where(at <= FFT / 2, sampled, 0.0)
    rms: FloatArray = (np.sqrt(2 * sampled.sum(axis=1)) * pitch / SAMPLE_RATE_HZ).astype(np.float32)
    return rms


def _voiced(
    controls: Controls, f0_hz: FloatArray, voice: Voice, style: Style, rng: np.random.Generator
) -> FloatArray:
    """The sound of the glottal pulses, (S,)."""
    frames = len(f0_hz)
    sound = np.zeros(frames * FRAME_SAMPLES + FFT, np.float32)
    times = pulse_times(f0_hz)
    clock = times / FRAME_SAMPLES - 0.5
    grid = np.arange(frames)
    level = np.interp(clock, grid, controls.voicing)
    keep = level > 0.02
    times, clock, level = times[keep], clock[keep], level[keep]
    if not len(times):
        return sound[:-FFT]
    tracks = [np.interp(clock, grid, controls.formants_hz[:, k]) for k in range(3)]
    formants = np.stack(tracks, axis=1).astype(np.float32)
    nasality = np.interp(clock, grid, controls.nasality).astype(np.float32)
    muffle = np.interp(clock, grid, controls.muffle).astype(np.float32)
    pitch = np.interp(clock, grid, f0_hz).astype(np.float32)
    delay = _delay(FFT)
    spectrum = _tract(voice, formants, nasality, FFT)  # (G, K)
    # The glottal formant near f0, the radiation at the lips, and a one-pole tilt.
    spectrum *= (1 - 0.97 * delay) / _resonator(1.1 * pitch, 1.0 * pitch, delay)
    corner_hz = 2400.0 * 2 ** ((voice.tilt_db + style.tilt_db) / 6)
    pole = np.float32(np.exp(-2 * np.pi * min(corner_hz, 7500.0) / SAMPLE_RATE_HZ))
    spectrum *= (1 - pole) / (1 - pole * delay)
    dull = muffle > 0.01
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    spectrum[dull] *= np.exp(-muffle[dull, None] * np.log1p((hertz / 450.0) ** 2))
    scale = level / _train_rms(spectrum.real**2 + spectrum.imag**2, pitch)
    shake = 1 + 0.25 * style.tremor * np.sin(2 * np.pi * 5.5 * times / SAMPLE_RATE_HZ + 1)
    scale = scale * shake * (1 + 0.03 * rng.standard_normal(len(times)))
    ticks = np.round(times * FRACTIONS).astype(np.int64)
    starts, fractions = ticks // FRACTIONS, ticks % FRACTIONS
    shift = np.exp(
        -2j * np.pi * np.arange(FRACTIONS)[:, None] / FRACTIONS * np.arange(len(delay)) / FFT
    ).astype(np.complex64)
    spectrum *= shift[fractions] * scale[:, None].astype(np.float32)
    pulses = np.fft.irfft(spectrum, FFT, axis=1).astype(np.float32)  # (G, FFT)
    for start, pulse in zip(starts.tolist(), pulses, strict=True):
        sound[start : start + FFT] += pulse
    return sound[:-FFT]


def _noise(controls: Controls, voice: Voice, style: Style, rng: np.random.Generator) -> FloatArray:
    """Aspiration and friction, (S,)."""
    frames = len(controls.voicing)
    breath = min(voice.breath + style.breath, 1.0)
    aspiration = controls.aspiration + 0.35 * breath * controls.voicing * (1 - controls.muffle)
    tract = _tract(voice, controls.formants_hz, controls.nasality, NOISE_FFT)
    tract *= 1 - 0.9 * _delay(NOISE_FFT)
    tract /= np.sqrt((tract.real**2 + tract.imag**2).mean(axis=1, keepdims=True))
    colours = COLOURS[controls.colour] * controls.friction[:, None]
    source = rng.standard_normal((frames + 1) * FRAME_SAMPLES).astype(np.float32)
    blocks = np.lib.stride_tricks.sliding_window_view(source, 2 * FRAME_SAMPLES)[::FRAME_SAMPLES]
    window = np.sin(np.pi * (np.arange(2 * FRAME_SAMPLES) + 0.5) / (2 * FRAME_SAMPLES))
    spectrum = np.fft.rfft(blocks * window.astype(np.float32), NOISE_FFT, axis=1)
    spectrum = spectrum * (tract * aspiration[:, None] + colours)
    pieces = np.fft.irfft(spectrum, NOISE_FFT, axis=1).astype(np.float32)
    hops = NOISE_FFT // FRAME_SAMPLES
    sound = np.zeros((frames + hops, FRAME_SAMPLES), np.float32)
    for hop in range(hops):
        sound[hop : hop + frames] += pieces[:, hop * FRAME_SAMPLES : (hop + 1) * FRAME_SAMPLES]
    return sound.reshape(-1)[: frames * FRAME_SAMPLES]


def synthesise(
    segments: list[Segment],
    f0_hz: FloatArray,
    voice: Voice,
    style: Style,
    rng: np.random.Generator,
) -> Waveform:
    """Synthesize the speech of one line.

    Args:
        segments: phones without gaps from sample 0, on the 5 ms grid.
        f0_hz: (N,) pitch per 5 ms frame, above 0 everywhere.

    Returns:
        16 kHz sound, exactly as long as the segments; peaks are limited softly, never clipped.

    Raises:
        ValueError: ``f0_hz`` has not one value per frame.
    """
    if len(frame_owner(segments)) != len(f0_hz):
        raise ValueError(f"{len(f0_hz)} pitch values for {len(frame_owner(segments))} frames")
    controls = controls_of(segments)
    sound = _voiced(controls, f0_hz, voice, style, rng) + _noise(controls, voice, style, rng)
    sound *= np.float32(10 ** ((REFERENCE_DB + style.energy_db) / 20))
    knee = np.float32(0.7)
    over = np.maximum(np.abs(sound) - knee, 0)
    bent = np.sign(sound) * (knee + (1 - knee) * np.tanh(over / (1 - knee)))
    samples = np.where(over > 0, bent, sound).astype(np.float32)
    return Waveform(samples, SAMPLE_RATE_HZ)
