"""Names of speakers before a colon, in brackets and in the fields of a format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from redub.footage.subtitles.text import one_line

_NAME = r"[^\W_](?:[\w .,'’&+/#\-–]{0,38}?[\w.'’])?"
QUALIFIER = r"[(\[][^()\[\]\n]{1,30}[)\]]"
LABEL = re.compile(rf"\s*({_NAME})((?:\s*{QUALIFIER})*)\s*[:：](?=\s|$|[^\W\d_]|[\"'“‘¿¡♪(\[])")
_OWN_LINE = re.compile(rf"\s*({_NAME})((?:[ \t]*{QUALIFIER})+)[ \t]*\n(?=\s*\S)")
BRACKETED = re.compile(
    r"\s*([(\[])\s*([^()\[\]:]{2,60})((?:\s*\([^()]{1,30}\))?)\s*([)\]])\s*([:：]?)"
)
_LISTED = re.compile(r"\s*(?:,\s*(?:&|(?:AND|and)\b)?|&|\+|/|\bAND\b|\band\b)\s*")
_TOGETHER = re.compile(r"\s*(?:&|\+|/|\bAND\b|\band\b)\s*")
_OFF_SCREEN = re.compile(
    r"(?:OS|OC|OOS|OOV|VO|OV|OFF|OFFSCREEN|OFFCAMERA|OFFSTAGE|OUTOFVIEW|VOICEOVER|NARRATING|NARRATION|"
    r"(?:(?:ON|OVER|VIA|THROUGH)(?:THE)?)?(?:PHONE|TELEPHONE|RADIO|TV|TELEVISION|SPEAKERPHONE|"
    r"SPEAKERS?|INTERCOM|LOUDSPEAKER|PA|RECORDING|VOICEMAIL|TAPE|WALKIETALKIE|EARPIECE|HEADSET))"
)
# headings: no speaker unless the cast has the name
_FIRST_WORDS = (
    "ACT ANSWER ATTENTION CAUTION CHAPTER DANGER EPISODE EXAMPLE FYI HINT IMPORTANT LESSON "
    "NB NOTE NOTES NOTICE PART PS QUESTION REMEMBER RULE SCENE STEP TIP TODO TRANSLATION "
    "UPDATE WARNING "
)
# words of sentences in capitals, which are in no name
_SENTENCE_WORDS = (
    "A AM ARE BUT CAN DID DO FOR HAD HAS HAVE HE HERE HERS HIS HOW I I'LL I'M IF IS IT IT'S "
    "ITS MY NOT ONLY OR OUR SAID SAY SAYS SHE SO THAT THAT'S THEIR THEN THERE THESE THEY "
    "THIS THOSE TO WAS WE WERE WHAT WHEN WHERE WHO WHY WILL YOU YOUR YES NO "
)
_SOUND_WORDS = (
    "APPLAUSE BANG BEEP BELL BELLS BUZZ CHATTER CHEERS CHUCKLE CLICK COUGH CRASH CREAK "
    "CROWD CRY ECHO EXPLOSION FOOTSTEPS GASP GROAN GRUNT GUNFIRE GUNSHOT GUNSHOTS HUM "
    "INAUDIBLE INDISTINCT KNOCK LAUGH LAUGHTER MUFFLED MURMUR MUSIC NOISE PANTS PAUSE RAIN "
    "RING ROAR SCOFF SCREAM SIGH SILENCE SIREN SIRENS SNORT SOB SONG SOUND SOUNDS STATIC "
    "THEME THUD THUNDER WHISPER WHISTLE WIND "
)
_ENDS_OF_NAMES = ("SS", "US", "IS", "AS", "OS", "YS", "AMES", "ARLES", "ILES", "ONES", "ULES")
_MAX_WORDS = 5
_MIXED_CASE = re.compile(r"\b[A-Z][a-z]{1,2}(?=[A-Z]{2})|['’]s\b")
_CONTINUED = re.compile(r"CONT(?:['’]?D|INUED|INUING)?\b\.?", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_CAPITALISED = re.compile(r"[^\W\d_a-z]\S*(?:[ ]\S+){0,2}")
_ON_DEVICE = re.compile(r"\b(?:ON|OVER|VIA|THROUGH)\s.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Label:
    """Who speaks: one name, several for words said together, or none if only the place is given."""

    names: tuple[str, ...] = ()
    off_screen: bool = False


class Names:
    """Decides which texts are names.

    Args:
        cast: names that count in upper and lower case, and with any accents' normal form.
    """

    def __init__(self, cast: Collection[str]) -> None:
        self._names = {_key(name): name for name in cast}
        self._cast = self._names.keys()
        self._known: set[str] = set()

    def learn(self, texts: Iterable[str]) -> None:
        """Remember the names before a colon, so that they are known in brackets, too."""
        for text in texts:
            for line in text.split("\n"):
                label = self.before_colon(re.sub(r"^\s*(?:>>+|[-–—•])\s*", "", line))
                if label is not None:
                    self._known.update(_key(name) for name in label[0].names)

    def canonical(self, name: str) -> str:
        """A name as the cast writes it, else with single spaces and in the normal form NFC."""
        name = unicodedata.normalize("NFC", one_line(name))
        return self._names.get(_key(name), name)

    def before_colon(self, text: str, *, is_marked: bool = False) -> tuple[Label, int] | None:
        """The label at the start of a text and its length, colon included; None without one.

        A name need not be in capitals before ``(O.S.)``, and not after ``>>`` (``is_marked``). On a
        line of its own, a name with ``(O.S.)`` needs no colon.
        """
        found = LABEL.match(text) or _OWN_LINE.match(text)
        if found is None:
            return None
        off_screen = any(map(is_off_screen, _IN_BRACKETS.findall(found[2])))
        names = self.split(found[1])
        if names is None and (off_screen or is_marked) and _CAPITALISED.fullmatch(found[1]):
            names = (self.canonical(found[1]),)
        if names is None or (found.re is _OWN_LINE and not off_screen):
            return None
        off_screen = off_screen or any(map(is_off_screen, _ON_DEVICE.findall(found[1])))
        return Label(names, off_screen), found.end()

    def like_a_name(self, text: str) -> str:
        """What stands before a colon at the start, if it could be a name in small letters.

        Each word begins with a capital letter, as in ``Ruby:`` or ``Dr. Lee:``; headings are none.
        """
        found = LABEL.match(text)
        words = [] if found is None else found[1].split()
        if not 1 <= len(words) <= 3 or words[0].upper() in _FIRST_WORDS.split():
            return ""
        return " ".join(words) if all(word[:1].isupper() for word in words) else ""

    def in_brackets(self, text: str) -> tuple[Label, int] | None:
        """The label in brackets at the start of a text, if it is a name or says 'off screen'.

        ``[ANN]`` is a name if it is in capitals and not the word of a sound, if the cast or another
        label of the file has it, or if a colon follows.
        """
        found = BRACKETED.match(text)
        if found is None or (found[1], found[4]) not in (("[", "]"), ("(", ")")):
            return None
        inside = one_line(found[2])
        if is_off_screen(inside):
            return Label(off_screen=True), found.end()
        name, _, place = inside.partition(",")
        off_screen = is_off_screen(place) or is_off_screen(found[3])
        if place and not off_screen and _key(name) not in self._cast | self._known:
            name = inside
        names = self.split(name)
        is_known = _key(name) in self._cast or _key(name) in self._known
        is_named = names is not None and not _is_sound(name) and found[1] == "["
        if is_known or (found[5] and not _is_sound(name)) or is_named or (names and off_screen):
            return Label(names or (self.canonical(name),), off_screen), found.end()
        return None

    def of_field(self, field: str) -> Label:
        """The label in a name field, where every text is a name: ``Ann (O.S.)``, ``Ann & Bob``."""
        found = re.fullmatch(rf"\s*(.*?)((?:\s*{QUALIFIER})*)\s*:?\s*", field, re.DOTALL)
        if found is None or not found[1]:
            return Label()
        off_screen = any(map(is_off_screen, _IN_BRACKETS.findall(found[2])))
        name = self.canonical(found[1] if off_screen else found[1] + found[2])
        parts = [name] if _key(name) in self._cast else _TOGETHER.split(name)
        if not all(sum(c.isalpha() for c in part) > 1 for part in parts):
            parts = [name]
        return Label(tuple(dict.fromkeys(map(self.canonical, parts))), off_screen)

    def split(self, words: str) -> tuple[str, ...] | None:
        """The names in a text before a colon: one, several joined by ``&``, or None for no name."""
        if self._is_name(words):
            whole = self.canonical(words)
            parts = _TOGETHER.split(whole)
            if _key(whole) in self._cast or len(parts) == 1 or not all(map(self._is_name, parts)):
                return (whole,)
            return tuple(dict.fromkeys(self.canonical(part) for part in parts))
        parts = _LISTED.split(one_line(words))
        if len(parts) < 2:
            return None
        together = _TOGETHER.search(words) is not None and all(map(self._is_name, parts))
        if together or all(_key(part) in self._cast for part in parts):
            return tuple(dict.fromkeys(self.canonical(part) for part in parts))
        return None

    def _is_name(self, words: str) -> bool:
        """Whether a text is in the cast, or in capitals and not the beginning of a sentence."""
        name = one_line(words)
        if _key(name) in self._cast:
            return True
        parts = name.split()
        if not 1 <= len(parts) <= _MAX_WORDS or "," in name:
            return False
        capitals = _MIXED_CASE.sub(lambda found: found[0].upper(), name)  # 'McCOY', 'ANN's FATHER'
        if not any(c.isupper() for c in name) or any(c.islower() and c != "ß" for c in capitals):
            return False
        if sum(c.isalnum() for c in name) < 2 or not name[0].isalpha():
            return False
        if parts[0].strip(".").replace(".", "") in _FIRST_WORDS.split():
            return False
        return not any(part.replace("’", "'") in _SENTENCE_WORDS.split() for part in parts)


def is_off_screen(words: str) -> bool:
    """Whether the words in brackets say that no lips are seen: ``O.S.``, ``V.O.``, ``ON PHONE``."""
    letters = "".join(c for c in _CONTINUED.sub("", words).upper() if c.isalpha())
    return _OFF_SCREEN.fullmatch(letters) is not None


def _is_sound(name: str) -> bool:
    """Whether a text in brackets names a sound: a known word, or one that ends as a verb does."""
    words = name.upper().split()
    if not words:
        return True
    last = words[-1]
    return (
        any(word in _SOUND_WORDS.split() for word in words)
        or any(word.endswith("ING") and len(word) > 4 for word in words)
        or (len(last) > 3 and last.endswith("S") and not last.endswith(_ENDS_OF_NAMES))
    )


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", one_line(name)).casefold()
