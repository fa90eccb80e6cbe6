"""Word error rate with a small offline recogniser: useful for comparing systems on one corpus.

The recogniser is pocketsphinx with the acoustic model of its wheel and a trigram language model
of the corpus's own *training* sentences. Every word of the corpus, whether or not a training
sentence holds it, is in the language model, so a test sentence is never impossible to recognise;
and no test sentence is needed to build it. It is far weaker than a large neural recogniser, and
its language model helps wherever sentences resemble each other. So: compare systems (ground
truth and resynthesis beside them) on one corpus, never these figures with those of a paper.

Source: pocketsphinx 5 (Huggins-Daines et al. 2006); rates are corpus level, errors over reference
words (NIST), not a mean over clips. :func:`legacy_wer` is what the dubbing papers print.
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
from redub.core.types import FloatArray, Waveform

RATE_HZ = 16_000  # of the acoustic model
DITHER_LSB = 4.0  # digital silence has no log energy; four steps of 16 bits are inaudible
PEAK = 0.5  # every utterance is brought to this peak, so that loudness is not judged


def normalise(text: str) -> str:
    """Spell a sentence the way the recogniser does: lower case, words, no marks or accents."""
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    words = re.sub(r"[^\w']|_", " ", plain).split()
    return " ".join(stripped for w in words if (stripped := _unquoted(w)))


def _unquoted(word: str) -> str:
    # 'tis and dogs' are words of the dictionary; 'word' is a quotation.
    if len(word) > 1 and word[0] == word[-1] == "'":
        word = word[1:-1]
    return word if word.strip("'") else ""


@lru_cache(maxsize=1)
def pronunciations() -> dict[str, tuple[str, ...]]:
    """The dictionary of the pocketsphinx wheel: word → its pronunciations, no stress marks."""
    table: dict[str, list[str]] = {}
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    for entry in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = entry.partition(" ")
        table.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(phones.strip())
    return {word: tuple(variants) for word, variants in table.items()}


class SpeechRecogniser:
    """Sound in, words out; the same utterance gives the same words whatever came before it."""

    def __init__(self, sentences: Iterable[str], vocabulary: Iterable[str]) -> None:
        """Build the dictionary and the language model.

        Args:
            sentences: training sentences; the language model is theirs. No test sentence.
            vocabulary: every word of the corpus, test words included, in any spelling that
                :func:`normalise` reads. A word that no training sentence holds is given the
                count 1 and is reached by back-off.

        ``unknown_words`` are those of the vocabulary that the dictionary does not pronounce;
        they can never be recognised, so each of them in a reference costs one error.

        Raises:
            ConfigError: no sentence, or no word that can be pronounced.
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
            waveform: any rate (brought to 16 kHz), any length, silence included.

        Returns:
            Words of the vocabulary with single spaces; empty when nothing was heard.
        """
        if len(waveform.samples) == 0:
            return ""
        pcm = _pcm(waveform)
        decoder = self._decoder
        # Without this the cepstral mean of the utterance before leaks in, `cmn="batch"` or not, and
        # setting the mean back is not enough: 39 of 40 scores and one transcript moved with order.
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        # A pronunciation variant is heard as "read(2)".
        return re.sub(r"\(\d+\)", "", found.hypstr).strip() if found else ""


def dictionary_text(words: Sequence[str]) -> str:
    """A pocketsphinx dictionary with all pronunciations of the given (known) words."""
    entries = []
    for word in words:
        for number, phones in enumerate(pronunciations()[word], start=1):
            entries.append(f"{word}{f'({number})' if number > 1 else ''} {phones}")
    return "\n".join(entries) + "\n"


def language_model_text(lines: Sequence[str], words: Sequence[str]) -> str:
    """An ARPA trigram model of ``lines`` in which every one of ``words`` has a probability."""
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
    # Seeded afresh for every utterance: the dither cannot depend on the order of utterances.
    dither = np.random.default_rng(0).uniform(-DITHER_LSB, DITHER_LSB, len(samples))
    return np.clip(samples * 32767.0 + dither, -32768, 32767).astype("<i2").tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrorReport:
    """Corpus-level word error rate; ``wer`` and its interval are fractions, and may exceed 1.

    The 95 % interval is a percentile bootstrap over utterances (words of one utterance are not
    independent). It holds the language model and the acoustic model fixed.
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
    """Errors over reference words, all utterances together.

    Args:
        references, hypotheses: sentences, pairwise; both pass :func:`normalise`. An empty
            hypothesis counts as all words deleted; it is never dropped.

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
    """The dubbing papers' figure, and how many clips it left out."""

    wer: float
    dropped: int


def legacy_wer(references: Sequence[str], hypotheses: Sequence[str]) -> LegacyWer:
    """The rate as the dubbing repositories compute it, for comparison with their tables only.

    Errors are divided by the length of the *hypothesis*, averaged over clips without weights,
    and clips with an empty transcript (or an empty reference) are left out.

    Source: StyleDubber's WER script, whose call passes its two arguments the other way round.

    Raises:
        ConfigError: unequal lengths, or every clip was left out.
    """
    pairs = [
        (normalise(reference), normalise(heard))
        for reference, heard in zip(_same(references, hypotheses), hypotheses, strict=True)
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
        wanted, heard = normalise(reference), normalise(hypothesis)
        if not wanted or not heard:  # jiwer refuses an empty reference
            rows.append((0, len(wanted.split()), len(heard.split()), len(wanted.split())))
            continue
        found = jiwer.process_words(wanted, heard)
        words = found.hits + found.substitutions + found.deletions
        rows.append((found.substitutions, found.deletions, found.insertions, words))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)
