"""Phonemes by espeak-ng, converted to ARPAbet; needs the optional extra ``espeak``.

espeak-ng pronounces a word by its letters, so it knows every word. It writes IPA, and some of its
sounds have no ARPAbet phone. A word with such a sound counts as unknown; no similar phone is used.
Source: espeak-ng 1.52 (``speak_lib.h``), voice ``en-us``, by the library inside the wheel of
``espeakng-loader``. Both are GPL-3.0: redub runs without them and installs them only on request.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from redub.core.errors import ConfigError, FeatureAbsent, MissingExtraError
from redub.core.extras import optional
from redub.features.runtime import Runtime
from redub.features.text.phonemes import ENGLISH, WordPhonemes, is_english
from redub.features.text.pronunciation import RESPELL, Saying, Source, Word, complete, say
from redub.features.text.reading.line import NotSpoken, Reading, SpokenWord
from redub.features.weights.folder import WeightFolder

PACKAGE = "espeakng-loader"
VOICE = b"en-us"

ARPABET: dict[str, tuple[str, ...]] = {
    # vowels
    "ɑː": ("AA",), "æ": ("AE",), "ʌ": ("AH",), "ə": ("AH",), "ɐ": ("AH",), "ɔː": ("AO",),
    "ɔ": ("AO",), "aʊ": ("AW",), "aɪ": ("AY",), "ɛ": ("EH",), "ɜː": ("ER",), "ɚ": ("ER",),
    "eɪ": ("EY",), "ɪ": ("IH",), "i": ("IY",), "iː": ("IY",), "oʊ": ("OW",), "ɔɪ": ("OY",),
    "ʊ": ("UH",), "uː": ("UW",),
    # signs for two sounds
    "ɑːɹ": ("AA", "R"), "ɔːɹ": ("AO", "R"), "ɛɹ": ("EH", "R"), "ɪɹ": ("IH", "R"),
    "ʊɹ": ("UH", "R"), "aɪɚ": ("AY", "ER"), "aɪə": ("AY", "AH"), "iə": ("IY", "AH"),
    "əl": ("AH", "L"), "n̩": ("AH", "N"),
    # consonants
    "b": ("B",), "tʃ": ("CH",), "d": ("D",), "ð": ("DH",), "f": ("F",), "ɡ": ("G",), "h": ("HH",),
    "dʒ": ("JH",), "k": ("K",), "l": ("L",), "m": ("M",), "n": ("N",), "ŋ": ("NG",), "p": ("P",),
    "ɹ": ("R",), "s": ("S",), "ʃ": ("SH",), "t": ("T",), "θ": ("TH",), "v": ("V",), "w": ("W",),
    "j": ("Y",), "z": ("Z",), "ʒ": ("ZH",),
    # in this voice the tap and the glottal stop are always a t; ladder keeps its d
    "ɾ": ("T",), "ʔ": ("T",),
}  # fmt: skip
"""IPA signs of the voice → ARPAbet phones. Signs without an exact phone are left out on purpose:
``ᵻ`` (roses: IH or AH), ``x`` (loch), ``ɬ``, and nasal or palatal sounds of foreign words."""

NEAREST: dict[str, tuple[str, ...]] = {
    # vowels
    "a": ("AA",), "ɒ": ("AA",), "e": ("EY",), "o": ("OW",), "u": ("UW",), "ɨ": ("IH",),
    "ᵻ": ("IH",), "y": ("UW",), "ʏ": ("UH",), "ø": ("ER",), "œ": ("ER",), "ɵ": ("ER",),
    "ɯ": ("UW",), "ɤ": ("AH",), "ɘ": ("AH",), "ɜ": ("ER",), "ɔø": ("OY",), "ɔy": ("OY",),
    "ɑ": ("AA",),
    # consonants
    "r": ("R",), "ʁ": ("R",), "ʀ": ("R",), "ɾ": ("R",), "ç": ("HH",), "x": ("HH",), "χ": ("HH",),
    "ħ": ("HH",), "ɣ": ("G",), "β": ("B",), "ɸ": ("F",), "ʋ": ("V",), "ɥ": ("W",), "ɲ": ("N", "Y"),
    "ʎ": ("L", "Y"), "ɫ": ("L",), "ʝ": ("Y",), "ɕ": ("SH",), "ʑ": ("ZH",), "ʂ": ("SH",),
    "ʐ": ("ZH",), "ɬ": ("L",), "c": ("K",), "ɟ": ("G",), "g": ("G",), "q": ("K",), "ʈ": ("T",),
    "ɖ": ("D",), "ɱ": ("M",), "ɴ": ("NG",),
}  # fmt: skip
"""IPA signs of other languages → the nearest ARPAbet phones; never used for English."""

_R_COLOURED = frozenset({"ɚ", "ɜː", "aɪɚ", "ɑːɹ", "ɔːɹ", "ɛɹ", "ɪɹ", "ʊɹ"})
NASAL = "\u0303"
_STRESS = str.maketrans("", "", "ˈˌ")
_SEPARATOR = "_"
_SILENT_OUTPUT, _UTF8, _IPA = 2, 1, 2  # AUDIO_OUTPUT_SYNCHRONOUS, espeakCHARS_UTF8, phoneme mode


def installed_version() -> str:
    """Return the version of the wheel; empty if the extra is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def require_espeak() -> None:
    """Check that the extra ``espeak`` is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if not installed_version():
        raise MissingExtraError(
            f"phonemes by espeak: the package '{PACKAGE}' (GPL-3.0) is missing; "
            "install it with `pip install 'redub[espeak]'`"
        )


def same_version(wanted: str) -> str:
    """Return the installed version, and check it against the version that a project pins.

    Another version may pronounce words differently.

    Args:
        wanted: the pinned version; empty accepts any.

    Raises:
        ConfigError: another version is installed.
    """
    found = installed_version()
    if wanted and wanted != found:
        raise ConfigError(
            f"'espeak' is '{wanted}', installed is {PACKAGE} {found or '(none)'}; install that "
            "version, or remove the setting",
            code="E-CFG-VALUE",
        )
    return found


@functools.cache
def _library() -> Any:
    """Load the shared library and set its voice, once per process.

    Raises:
        MissingExtraError: the wheel is not installed, or does not work on this machine.
    """
    require_espeak()
    try:
        loader = optional("espeakng_loader", extra="espeak", purpose="phonemes by espeak")
        library = ctypes.CDLL(loader.get_library_path())
        data = loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtraError(f"{PACKAGE} is installed but does not load: {error}") from error
    library.espeak_Initialize.argtypes = [
        ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int,
    ]  # fmt: skip
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [
        ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    rate = library.espeak_Initialize(_SILENT_OUTPUT, 0, str(data).encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(VOICE) != 0:
        raise MissingExtraError(f"{PACKAGE} is installed but has no voice {VOICE.decode()}")
    return library


def has_voice(language: str) -> bool:
    """Whether espeak-ng has a voice of a language tag in lower case, as ``de`` or ``pt-br``."""
    found: int = _library().espeak_SetVoiceByName(language.encode())
    return found == 0


@functools.lru_cache(maxsize=65_536)
def ipa_signs(word: str, voice: str = VOICE.decode()) -> tuple[str, ...]:
    """Return the IPA signs of one word spoken alone, without stress marks."""
    library = _library()
    library.espeak_SetVoiceByName(voice.encode())
    rest = ctypes.c_char_p(word.encode())
    signs: list[str] = []
    while rest.value:  # one clause at a time; the call advances the pointer
        written = library.espeak_TextToPhonemes(
            ctypes.byref(rest), _UTF8, _IPA | ord(_SEPARATOR) << 8
        )
        plain = written.decode().translate(_STRESS).replace(" ", _SEPARATOR)
        signs += [sign for sign in plain.split(_SEPARATOR) if sign]
    return tuple(signs)


def unwritable(word: str, voice: str = VOICE.decode()) -> tuple[str, ...]:
    """Return the IPA signs of a word that have no exact ARPAbet phone."""
    return tuple(sign for sign in ipa_signs(word, voice) if sign not in ARPABET)


def espeak_lookup(word: str, voice: str = VOICE.decode()) -> tuple[str, ...] | None:
    """Return the phones of a word; None if it has no sound or a sound has no exact phone.

    An ``ɹ`` after an r-coloured sign is left out, as in *marie* (M ER IY), because ARPAbet's ER
    contains it.
    """
    signs = ipa_signs(word, voice)
    if not signs or unwritable(word, voice):
        return None
    phones: list[str] = []
    for place, sign in enumerate(signs):
        if sign == "ɹ" and place and signs[place - 1] in _R_COLOURED:
            continue
        phones += ARPABET[sign]
    return tuple(phones)


@dataclass(frozen=True, slots=True, kw_only=True)
class EspeakConfig:
    """Settings of the backend ``espeak`` of the feature ``phonemes``.

    Attributes:
        espeak: version of ``espeakng-loader``. If set, this version must be installed; if empty,
            the installed version is filled in.
    """

    espeak: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "espeak", same_version(self.espeak))


class EspeakPhonemes(WordPhonemes):
    """Compute (P, 1) int32 phoneme ids from text; every English word is pronounced alone."""

    Config: ClassVar[type] = EspeakConfig

    def __init__(
        self,
        config: Any,
        folders: Mapping[str, WeightFolder] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        require_espeak()
        super().__init__(config, folders, runtime)

    def saying(self, text: str, language: str = ENGLISH) -> Saying:
        """Say a text by espeak-ng; see :meth:`WordPhonemes.saying`.

        A text of another language is read by the rules of espeak-ng for that language.

        Raises:
            FeatureAbsent: E-TEXT-LANGUAGE, espeak-ng has no voice of the language.
        """
        if is_english(language):
            return say(
                text,
                espeak_lookup,
                own=self.own,
                lookup_is="espeak",
                british=language.lower() == "en-gb",
            )
        return foreign_saying(text, language.lower(), self.own)

    def words(self, text: str, language: str = ENGLISH) -> list[Word]:
        """Return the words of a text with their phones; see :meth:`WordPhonemes.words`.

        Raises:
            FeatureAbsent: E-TEXT-OOV names the sounds that have no exact ARPAbet phone, too.
        """
        said = self.saying(text, language)
        voice = VOICE.decode() if is_english(language) else language.lower()
        sounds = dict.fromkeys(
            sign for word in said.unknown for sign in unwritable(word.strip("'"), voice)
        )
        advice = RESPELL
        if sounds:
            advice += f" (sounds without an exact phone: {' '.join(sounds)})"
        return complete(said, place="what espeak-ng can say in ARPAbet", advice=advice)


def nearest_phones(word: str, language: str) -> tuple[str, ...] | None:
    """Return phones of a word of another language than English, with the nearest English sounds.

    The sounds are written with the phones of English, because the models know no others. None if a
    sound has no near phone.
    """
    phones: list[str] = []
    for sign in ipa_signs(word, language):
        found = _nearest(sign)
        if found is None:
            return None
        phones += found
    return tuple(phones) or None


def _nearest(sign: str) -> tuple[str, ...] | None:
    """The phones of one IPA sign: as a whole, without its length, or letter by letter."""
    plain = sign.replace("ː", "")
    for form in (plain, sign):
        if form in NEAREST or form in ARPABET:
            return NEAREST.get(form) or ARPABET[form]
    phones: list[str] = []
    for letter in plain:
        if letter == NASAL:
            phones.append("N")
        elif letter in NEAREST or letter in ARPABET:
            phones += NEAREST.get(letter) or ARPABET[letter]
        elif letter + "ː" in ARPABET:
            phones += ARPABET[letter + "ː"]
        elif unicodedata.category(letter) not in ("Mn", "Lm"):  # those are small marks
            return None
    return tuple(phones)


def foreign_saying(text: str, language: str, own: Mapping[str, tuple[str, ...]]) -> Saying:
    """Say a text of another language than English, each stretch without spaces as one word.

    espeak-ng reads numbers and signs itself. A word that becomes silence is punctuation. Sounds
    that English does not have become the nearest English phone.

    Raises:
        FeatureAbsent: E-TEXT-LANGUAGE, espeak-ng has no voice of the language.
    """
    if not has_voice(language):
        raise FeatureAbsent(
            f"espeak-ng has no voice of the language '{language}'; correct [footage] language or "
            "the column 'language' of languages.csv",
            code="E-TEXT-LANGUAGE",
        )
    words: list[Word] = []
    spoken: list[SpokenWord] = []
    silent: list[NotSpoken] = []
    unknown: list[str] = []
    for found in re.finditer(r"\s+|\S+", text):
        start, end = found.span()
        written = found[0].lower()
        bare = written.strip(".,;:!?…\"'“”„‚‘’«»()[]¿¡–—-")
        if written.isspace():
            silent.append(NotSpoken("space", found[0], start, end))
        elif not bare or (bare not in own and not ipa_signs(bare, language)):
            silent.append(NotSpoken("punctuation", found[0], start, end))
        else:
            spoken.append(SpokenWord(bare, start, end))
            phones = own.get(bare) or nearest_phones(bare, language)
            if phones is None:
                unknown.append(bare)
            else:
                source: Source = "own" if bare in own else "espeak"
                words.append(Word(bare, phones, start, end, source))
    reading = Reading(text, tuple(spoken), tuple(silent))
    return Saying(tuple(words), tuple(dict.fromkeys(unknown)), reading)


def espeak_words(text: str) -> list[Word]:
    """Return the words of an English text with their phones by espeak-ng.

    Raises:
        FeatureAbsent: as :meth:`EspeakPhonemes.words`.
    """
    return EspeakPhonemes(EspeakConfig()).words(text)
