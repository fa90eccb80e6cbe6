"""Word error rate (WER) with a small offline recogniser, for comparing systems on one corpus.

The recogniser is pocketsphinx with the acoustic model of its wheel and a trigram language model
of the corpus's *training* sentences. All words of the corpus are in the language model, also those
that occur in test sentences only; test sentences themselves are not used. The recogniser is much
weaker than a large neural one, and its language model helps more where sentences are similar.
Therefore compare systems with ground truth and resynthesis on one corpus, and do not compare these
rates with rates of a paper.

Source: pocketsphinx 5 (Huggins-Daines et al. 2006). Rates are at corpus level: errors over
reference words (NIST), not a mean over clips. :func:`legacy_wer` is the definition in the code of
the dubbing papers.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
import pocketsphinx
import soxr
from numpy.typing import NDArray
from pocketsphinx.lm import ArpaBoLM

from redub.core.errors import ConfigError
from redub.core.metric import Absent, Interval
from redub.core.types import FloatArray, Waveform
from redub.evaluation.takes import LineFigures

RATE_HZ = 16_000  # of the acoustic model
DITHER_LSB = 4.0  # digital silence has no log energy; noise of four 16-bit steps is inaudible
PEAK = 0.5  # every utterance is scaled to this peak, so that loudness does not matter


def normalise(text: str) -> str:
    """Normalise a sentence as the recogniser spells it: lower case, no punctuation or accents.

    Words are separated by single spaces; apostrophes inside words are kept.
    """
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    words = re.sub(r"[^\w']|_", " ", plain).split()
    return " ".join(stripped for w in words if (stripped := _unquoted(w)))


def _unquoted(word: str) -> str:
    # 'tis and dogs' are words of the dictionary; 'word' is a word in quotation marks.
    if len(word) > 1 and word[0] == word[-1] == "'":
        word = word[1:-1]
    return word if word.strip("'") else ""


@lru_cache(maxsize=1)
def pronunciations() -> dict[str, tuple[str, ...]]:
    """Read the dictionary of the pocketsphinx wheel: word → pronunciations, no stress marks."""
    table: dict[str, list[str]] = {}
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    for entry in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = entry.partition(" ")
        table.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(phones.strip())
    return {word: tuple(variants) for word, variants in table.items()}


class SpeechRecogniser:
    """Transcribes utterances; a transcript does not depend on the utterances before it."""

    def __init__(self, sentences: Iterable[str], vocabulary: Iterable[str]) -> None:
        """Build the dictionary and the language model.

        The attribute ``unknown_words`` lists the words that the pronunciation dictionary lacks.
        They cannot be recognised, so each of them in a reference causes an error.

        Args:
            sentences: training sentences for the language model; no test sentences.
            vocabulary: all words of the corpus, test words included, in any spelling that
                :func:`normalise` accepts. Words that occur in no training sentence get the count 1
                and are reached by back-off.

        Raises:
            ConfigError: no sentence, or no word of the pronunciation dictionary.
        """
        lines = [line for line in (normalise(s) for s in sentences) if line]
        words = sorted(
            {w for entry in (*vocabulary, *lines) for w in normalise(entry).split()},
        )
        known = [w for w in words if w in pronunciations()]
        if not lines or not known:
            raise ConfigError(
                f"recogniser: {len(lines)} training sentences and {len(known)} words of the "
                "pronunciation dictionary; wanted at least one of each",
                code="E-EVAL-LM",
            )
        self.vocabulary: tuple[str, ...] = tuple(known)
        self.unknown_words: tuple[str, ...] = tuple(sorted(set(words) - set(known)))
        with tempfile.TemporaryDirectory(prefix="redub-lm-") as folder:
            model, dictionary = Path(folder) / "domain.arpa", Path(folder) / "domain.dict"
            dictionary.write_text(dictionary_text(known), encoding="utf-8")
            model.write_text(language_model_text(lines, known), encoding="utf-8")
            self._decoder = pocketsphinx.Decoder(
                lm=str(model), dict=str(dictionary), samprate=RATE_HZ, cmn="batch", loglevel="FATAL"
            )

    def transcribe(self, waveform: Waveform) -> str:
        """Recognise one utterance.

        Args:
            waveform: any sample rate (resampled to 16 kHz), any length, also silence.

        Returns:
            Words of the vocabulary with single spaces; empty if no word was recognised.
        """
        if len(waveform.samples) == 0:
            return ""
        pcm = _pcm(waveform)
        decoder = self._decoder
        # Without this call the cepstral mean of the previous utterance influences this one, even
        # with `cmn="batch"`: 39 of 40 scores and one transcript changed with the order of
        # utterances. Resetting the mean alone is not enough.
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        # Pronunciation variants are returned as "read(2)".
        return re.sub(r"\(\d+\)", "", found.hypstr).strip() if found else ""


def dictionary_text(words: Sequence[str]) -> str:
    """Write a pocketsphinx dictionary with all pronunciations of the given words.

    Raises:
        KeyError: a word is not in :func:`pronunciations`.
    """
    entries = []
    for word in words:
        for number, phones in enumerate(pronunciations()[word], start=1):
            entries.append(f"{word}{f'({number})' if number > 1 else ''} {phones}")
    return "\n".join(entries) + "\n"


def language_model_text(lines: Sequence[str], words: Sequence[str]) -> str:
    """Build an ARPA trigram model of ``lines`` that gives all of ``words`` a probability."""
    model = ArpaBoLM(text="\n".join(lines), add_start=True)
    for word in words:
        if word not in model.grams_1:
            model.grams_1[word] = 1
    model.compute()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        model.write(file)
        file.seek(0)
        return file.read()


def _pcm(waveform: Waveform) -> bytes:
    samples: FloatArray = waveform.samples.astype(np.float32)
    if waveform.sample_rate_hz != RATE_HZ:
        samples = soxr.resample(samples, waveform.sample_rate_hz, RATE_HZ)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1e-4:  # silence stays silence
        samples = samples * (PEAK / peak)
    # Seeded for every utterance, so that the dither does not depend on the order of utterances.
    dither = np.random.default_rng(0).uniform(-DITHER_LSB, DITHER_LSB, len(samples))
    return np.clip(samples * 32767.0 + dither, -32768, 32767).astype("<i2").tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrorReport:
    """Corpus-level word error rate; ``wer`` and its interval are fractions and may exceed 1.

    The 95 % interval is a percentile bootstrap over utterances (words of one utterance are not
    independent), with fixed language model and acoustic model.
    """

    wer: float
    wer_low: float
    wer_high: float
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    utterances: int


def corpus_wer(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> WordErrorReport:
    """Compute the word error rate of a corpus: all errors over all reference words.

    Args:
        references, hypotheses: sentences in the same order; both are normalised by
            :func:`normalise`. An empty hypothesis counts as all words deleted; it is not dropped.
        seed, resamples: of the bootstrap interval.

    Raises:
        ConfigError: unequal lengths, or no word in any reference.
    """
    counts = _counts(references, hypotheses)  # (N, 4) substitutions, deletions, insertions, words
    errors, words = counts[:, :3].sum(axis=1), counts[:, 3]
    if words.sum() == 0:
        raise ConfigError("word error: no reference holds a word", code="E-EVAL-EMPTY")
    draws = np.random.default_rng(seed).integers(0, len(words), (resamples, len(words)))
    drawn_words = words[draws].sum(axis=1)
    rates = errors[draws].sum(axis=1)[drawn_words > 0] / drawn_words[drawn_words > 0]
    low, high = np.quantile(rates, [0.025, 0.975])
    totals = [int(v) for v in counts.sum(axis=0)]
    return WordErrorReport(
        wer=float(errors.sum() / words.sum()),
        wer_low=float(low),
        wer_high=float(high),
        substitutions=totals[0],
        deletions=totals[1],
        insertions=totals[2],
        reference_words=totals[3],
        utterances=len(words),
    )


class LegacyWer(NamedTuple):
    """WER as the dubbing papers compute it, and the number of clips that it leaves out."""

    wer: float
    dropped: int


def legacy_wer(references: Sequence[str], hypotheses: Sequence[str]) -> LegacyWer:
    """Compute WER as the dubbing repositories do, for comparison with their tables only.

    Errors are divided by the length of the *hypothesis* and averaged over clips without weights.
    Clips with an empty transcript (or an empty reference) are left out.

    Source: StyleDubber's WER script, which swaps the two arguments of the WER function.

    Raises:
        ConfigError: unequal lengths, or every clip was left out.
    """
    pairs = [
        (normalise(reference), normalise(hypothesis))
        for reference, hypothesis in zip(_same(references, hypotheses), hypotheses, strict=True)
    ]
    used = [(r, h) for r, h in pairs if r and h]
    if not used:
        raise ConfigError("legacy word error: every transcript is empty", code="E-EVAL-EMPTY")
    rates = [jiwer.wer(h, r) for r, h in used]  # swapped, as published
    return LegacyWer(wer=float(np.mean(rates)), dropped=len(pairs) - len(used))


def _same(references: Sequence[str], hypotheses: Sequence[str]) -> Sequence[str]:
    if len(references) != len(hypotheses):
        raise ConfigError(
            f"word error: {len(references)} references and {len(hypotheses)} hypotheses",
            code="E-EVAL-PAIRS",
        )
    return references


def _counts(references: Sequence[str], hypotheses: Sequence[str]) -> NDArray[np.int64]:
    rows = []
    for reference, hypothesis in zip(_same(references, hypotheses), hypotheses, strict=True):
        true, found_words = normalise(reference), normalise(hypothesis)
        if not true or not found_words:  # jiwer refuses an empty reference
            rows.append((0, len(true.split()), len(found_words.split()), len(true.split())))
            continue
        found = jiwer.process_words(true, found_words)
        words = found.hits + found.substitutions + found.deletions
        rows.append((found.substitutions, found.deletions, found.insertions, words))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def wer_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Corpus-level WER of the takes that have words, by :func:`corpus_wer` with its own draws."""
    spoken = [take for take in takes if take.text]
    if not any(normalise(take.text) for take in spoken):
        return Absent("E-EVAL-TEXT", "no measured line has words")
    transcripts = [take.transcript for take in spoken if take.transcript is not None]
    if len(transcripts) < len(spoken):
        return Absent("E-EVAL-ASR", "the speech recogniser did not run")
    found = corpus_wer([take.text for take in spoken], transcripts)
    return Interval(found.wer, found.wer_low, found.wer_high)
