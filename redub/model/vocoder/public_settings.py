"""Read the ``config.json`` of public vocoders: generator settings and mel settings.

Its keys are those of the public training code of HiFi-GAN and BigVGAN. Keys about training are
ignored. The key ``upsample_padding`` (auto, upstream, output_padding) is an extension of redub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from redub.core.config import from_mapping
from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.bigvgan import BigVganConfig
from redub.model.vocoder.hifi_gan import HifiGanConfig

Settings = TypeVar("Settings", HifiGanConfig, BigVganConfig)

AUDIO_KEYS = {
    "sample_rate_hz": "sampling_rate",
    "n_fft": "n_fft",
    "hop_samples": "hop_size",
    "win_samples": "win_size",
    "mel_channels": "num_mels",
    "fmin_hz": "fmin",
    "fmax_hz": "fmax",
}
"""Name of each audio setting in redub → its key in ``config.json``."""

GENERATOR_KEYS = {
    "upsample_rates": "upsample_rates",
    "upsample_kernels": "upsample_kernel_sizes",
    "channels": "upsample_initial_channel",
    "kernels": "resblock_kernel_sizes",
    "dilations": "resblock_dilation_sizes",
}
MOST_SAMPLES_A_SECOND = 384_000


def hifi_gan_settings(public: Mapping[str, Any]) -> HifiGanConfig:
    """Read the settings of a HiFi-GAN generator.

    Raises:
        ModelRefusedError: E-MODEL-CONFIG, a key is missing or has an invalid value; E-MODEL-LENGTH,
            T frames would not become T hops of samples.
    """
    return _built(HifiGanConfig, public, resblock=str(public.get("resblock", "1")))


def bigvgan_settings(public: Mapping[str, Any]) -> BigVganConfig:
    """Read the settings of a BigVGAN generator; without the switches of version 2 it is version 1.

    Raises:
        ModelRefusedError: as :func:`hifi_gan_settings`; or E-MODEL-CONFIG, the activation is not
            snakebeta or the residual block is not "1".
    """
    for key, wanted in (("activation", "snakebeta"), ("resblock", "1")):
        if str(public.get(key, wanted)) != wanted:
            raise ModelRefusedError(
                f"config.json: {key} is {public[key]!r}; redub supports '{wanted}' only",
                code="E-MODEL-CONFIG",
            )
    return _built(
        BigVganConfig,
        public,
        tanh_at_end=public.get("use_tanh_at_final", True),
        bias_at_end=public.get("use_bias_at_final", True),
        log_scale=public.get("snake_logscale", True),
    )


def _wanted(public: Mapping[str, Any], key: str) -> Any:
    if key not in public:
        raise ModelRefusedError(
            f"config.json has no '{key}'; wanted the one that the vocoder was trained with",
            code="E-MODEL-CONFIG",
        )
    return public[key]


def _built(kind: type[Settings], public: Mapping[str, Any], **more: Any) -> Settings:
    """The settings of a generator; ``more``: those that only this kind has."""
    values = {own: _wanted(public, key) for own, key in GENERATOR_KEYS.items()}
    values |= {"padding": public.get("upsample_padding", "auto"), **more}
    try:
        return from_mapping(kind, {**values, "audio": asdict(audio_of(public))})
    except ConfigError as error:
        raise ModelRefusedError(f"config.json: {error.message}", code="E-MODEL-CONFIG") from error


def audio_of(public: Mapping[str, Any]) -> AudioSpec:
    """Read the settings of the mels that a vocoder was trained on.

    Raises:
        ModelRefusedError: E-MODEL-CONFIG, a key is missing or has an invalid value.
    """
    values = {own: _wanted(public, key) for own, key in AUDIO_KEYS.items()}
    try:
        if values["fmax_hz"] is None:  # null means half the sample rate
            values["fmax_hz"] = float(values["sample_rate_hz"]) / 2
        audio = from_mapping(AudioSpec, values)
    except (ConfigError, TypeError, ValueError) as error:
        raise ModelRefusedError(f"config.json: {error}", code="E-MODEL-CONFIG") from error
    if not 0 < audio.sample_rate_hz <= MOST_SAMPLES_A_SECOND or not 0 < audio.mel_channels <= 1024:
        raise ModelRefusedError(
            f"config.json: a sample rate of {audio.sample_rate_hz} Hz and {audio.mel_channels} mel "
            f"channels; wanted at most {MOST_SAMPLES_A_SECOND} Hz and 1024 channels, both above 0",
            code="E-MODEL-CONFIG",
        )
    return audio


def check_audio(trained: AudioSpec, project: AudioSpec, who: str) -> None:
    """Check that a vocoder was trained on mels with the settings of the project.

    Args:
        who: the vocoder, for the error message.

    Raises:
        ModelRefusedError: E-MODEL-AUDIO; the message names every setting that differs.
    """
    differing = [
        f"audio.{own} is {getattr(project, own):g} here and {getattr(trained, own):g} there ({key})"
        for own, key in AUDIO_KEYS.items()
        if getattr(trained, own) != getattr(project, own)
    ]
    if differing:
        raise ModelRefusedError(
            f"{who} was trained on other mels than those of this project: {'; '.join(differing)}. "
            "Use a vocoder trained on these mels, or set [audio] to its values and extract again",
            code="E-MODEL-AUDIO",
        )
