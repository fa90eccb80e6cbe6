"""How words are read: abbreviations by context, initialisms, Roman numerals, addresses, words."""

from __future__ import annotations

import re

from redub.features.text.reading.numbers import cardinal, each_digit, ordinal
from redub.features.text.reading.rule import Context, Piece, Rule, Words, letters, rule
from redub.features.text.reading.shape import INVISIBLE, LETTER, MARK, NUMERIC, names_of, plain_word

ALWAYS, NAME, DIGIT, GOES_ON = "always", "before a name", "before a number", "before a word"

ABBREVIATIONS: dict[str, tuple[str, str]] = {
    "mr": ("mister", ALWAYS), "mrs": ("missus", ALWAYS), "ms": ("miz", ALWAYS),
    "messrs": ("messieurs", ALWAYS), "mme": ("madame", ALWAYS), "prof": ("professor", ALWAYS),
    "capt": ("captain", ALWAYS), "jr": ("junior", ALWAYS), "sr": ("senior", ALWAYS),
    "vs": ("versus", ALWAYS), "etc": ("et cetera", ALWAYS), "approx": ("approximately", ALWAYS),
    "dept": ("department", ALWAYS), "inc": ("incorporated", ALWAYS),
    "corp": ("corporation", ALWAYS), "ltd": ("limited", ALWAYS), "assn": ("association", ALWAYS),
    "blvd": ("boulevard", ALWAYS), "hwy": ("highway", ALWAYS), "ave": ("avenue", ALWAYS),
    "rd": ("road", ALWAYS), "sgt": ("sergeant", ALWAYS), "lt": ("lieutenant", ALWAYS),
    "cpl": ("corporal", ALWAYS), "cmdr": ("commander", ALWAYS),
    "supt": ("superintendent", ALWAYS), "govt": ("government", ALWAYS),
    "incl": ("including", ALWAYS), "misc": ("miscellaneous", ALWAYS), "esq": ("esquire", ALWAYS),
    "tues": ("tuesday", ALWAYS), "thurs": ("thursday", ALWAYS), "mt": ("mount", NAME),
    "ft": ("fort", NAME), "gen": ("general", NAME), "sen": ("senator", NAME),
    "rep": ("representative", NAME), "rev": ("reverend", NAME), "gov": ("governor", NAME),
    "hon": ("honorable", NAME), "col": ("colonel", NAME), "maj": ("major", NAME),
    "adm": ("admiral", NAME), "pvt": ("private", NAME), "pres": ("president", NAME),
    "fr": ("father", NAME), "det": ("detective", NAME), "insp": ("inspector", NAME),
    "no": ("number", DIGIT), "nos": ("numbers", DIGIT), "vol": ("volume", DIGIT),
    "ch": ("chapter", DIGIT), "pg": ("page", DIGIT), "p": ("page", DIGIT), "pp": ("pages", DIGIT),
    "fig": ("figure", DIGIT), "sec": ("section", DIGIT), "ext": ("extension", DIGIT),
    "apt": ("apartment", DIGIT), "rm": ("room", DIGIT), "est": ("established", DIGIT),
    "max": ("maximum", GOES_ON), "min": ("minimum", GOES_ON), "avg": ("average", GOES_ON),
    "co": ("company", GOES_ON), "jan": ("january", ALWAYS), "feb": ("february", ALWAYS),
    "apr": ("april", ALWAYS), "aug": ("august", ALWAYS), "sept": ("september", ALWAYS),
    "oct": ("october", ALWAYS), "nov": ("november", ALWAYS), "dec": ("december", ALWAYS),
}  # fmt: skip
"""Abbreviation that ends with a dot → what it is short for, and where it is an abbreviation."""

WITHOUT_DOT = frozenset({"mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "etc", "prof", "capt"})
"""Abbreviations that are known without their dot, too."""

_PHRASES = {
    "e.g": ("for", "example"), "i.e": ("that", "is"), "w/o": ("without",), "w/": ("with",),
    "and/or": ("and", "or"), "n/a": ("not", "applicable"), "b/c": ("because",),
    "c/o": ("care", "of"), "ac/dc": ("A", "C", "D", "C"),
}  # fmt: skip
_SAINTLY = frozenset({"mount", "mt", "port", "fort", "ft", "lake", "cape", "sault"})

INITIALISMS = frozenset({
    "EST", "PST", "GMT", "CET", "UTC", "AD", "BC", "BCE", "AI", "AKA", "CV", "DIY", "ETA", "EU",
    "HR", "ID", "LA", "PR", "SOS", "UN", "VIP", "CEO",
    "CFO", "GPS", "DVD", "USB", "ATM", "HIV", "UFO", "IQ", "PC", "DJ", "MC", "AC", "DC", "CD",
    "NBA", "NFL", "MIT", "UCLA", "SUV", "BBQ", "OCD", "ADHD", "GDP", "PHD", "PTSD", "LAPD",
    "NYPD", "FAQ",
})  # fmt: skip
"""Said letter by letter although a dictionary may have a word of these letters."""
_AFTER_THE = frozenset({"US", "ER", "PA", "IT", "MD", "DA"})
"""Initialisms after *the* or *a*; elsewhere capitals are taken as emphasis (all of US)."""

_NUMBERED = (
    "part|chapter|act|scene|volume|book|type|phase|stage|class|section|title|level|episode|rocky|"
    "war|bowl|fantasy|star|wars|season|round|apollo|mark|appendix|article|figure|table|category|"
    "grade|schedule|corps|division|olympiad|wrestlemania|unit"
)
_ROMAN = r"(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_SHORT_NUMBERED = r"vol|ch|pt|bk|sec|fig"
_DAYS = {
    "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday",
    "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday",
}  # fmt: skip
_DAY = "|".join(sorted(_DAYS, key=len, reverse=True))
_WARS = {"WWI": "one", "WWII": "two", "WW1": "one", "WW2": "two"}
_REIGNS = (
    "henry|louis|george|edward|richard|james|charles|william|elizabeth|mary|catherine|philip|pius|"
    "john|paul|benedict|gregory|leo|clement|alexander|nicholas|peter|frederick|francis|napoleon|"
    "ramses|ramesses|thutmose|amenhotep|ptolemy|tutmose|ferdinand|leopold|albert|wilhelm|otto|"
    "harald|olaf|gustav|christian|felipe|juan|carlos|urban|innocent|boniface|sixtus|celestine"
)
_NUMBERED_IN_FULL = {
    "vol": "volume", "ch": "chapter", "pt": "part", "bk": "book", "sec": "section", "fig": "figure",
}  # fmt: skip
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}

_DOMAINS = r"com|org|net|edu|gov|io|tv|info|co\.uk|ac\.uk|eu|ai"
_SPELLED_DOMAINS = frozenset({"edu", "uk", "io", "tv", "eu", "ai", "www"})
_ADDRESS_SIGNS = {
    ".": "dot", "@": "at", "-": "dash", "–": "dash", "_": "underscore", "/": "slash",
    "+": "plus", ":": "colon", "=": "equals", "&": "and", "#": "hash", "%": "percent",
    "~": "tilde",
}  # fmt: skip

_WORD = rf"{LETTER}(?:[{INVISIBLE}]*{LETTER})*"
_APOSTROPHED = rf"{_WORD}(?:'{_WORD})*"


def _address(match: re.Match[str], context: Context) -> list[Piece]:
    """An e-mail or web address; ``https://`` is not spoken."""
    start = match.start()
    pieces: list[Piece] = []
    scheme = re.match(r"[A-Za-z]+://", match[0])
    if scheme:
        pieces.append(Piece(start, start + scheme.end(), (), "scheme"))
        start += scheme.end()
    for found in re.finditer(r"[^\W\d_]+|[0-9]+|.", context.shape[start : match.end()]):
        token, said = found[0], ()  # type: tuple[str, Words]
        if token.isalpha():
            said = _address_word(token.lower(), context)
        elif token.isdigit():
            said = cardinal(token) if len(token) < 5 else each_digit(token)
        elif token in _ADDRESS_SIGNS:
            said = (_ADDRESS_SIGNS[token],)
        elif token == NUMERIC:
            said = names_of(context.text[start + found.start()]).replace("-", " ").split()
        place = (start + found.start(), start + found.end())
        pieces.append(Piece(*place, tuple(said), "" if said else "punctuation"))
    return pieces


def _address_word(word: str, context: Context) -> Words:
    if word in _SPELLED_DOMAINS:
        return letters(word)
    if context.knows(word) or (len(word) > 3 and _has_vowel(word)):
        return (word,)
    return letters(word) or (word,)


def _hashtag(match: re.Match[str], context: Context) -> list[Piece]:
    sign = {"#": "hashtag", "@": "at"}[match[1]]
    own = [Piece(match.start(), match.start() + 1, (sign,))]
    for found in re.finditer(r"[0-9]+|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|_", match[2]):
        start = match.start(2) + found.start()
        end = start + len(found[0])
        if found[0] == "_":
            own.append(Piece(start, end, (), "punctuation"))
        elif found[0].isdigit():
            own.append(Piece(start, end, cardinal(found[0])))
        else:
            own.append(Piece(start, end, tuple(part_words(found[0], context, start))))
    return own


def _with_and(match: re.Match[str], context: Context) -> list[Piece]:
    """Letters around a sign: AT&T, R&B."""
    return [
        Piece(
            match.start() + found.start(),
            match.start() + found.end(),
            ("and",) if found[0] == "&" else letters(found[0]),
        )
        for found in re.finditer(r"[A-Z]+|&", match[0])
    ]


def _days(match: re.Match[str], context: Context) -> Words:
    return (_DAYS[match[1]], "to", _DAYS[match[2]])


def _war(match: re.Match[str], context: Context) -> Words:
    return ("world", "war", _WARS[match[0]])


def _dotted(match: re.Match[str], context: Context) -> Words:
    """Letters with dots: U.S.A., p.m., e.g."""
    plain = match[0].lower().rstrip(".")
    if plain in _PHRASES:
        return _PHRASES[plain]
    if re.search(r"'?s$", match[0]):  # the C.I.A.'s, PhDs
        said = letters(match[0][:-1])
        return (*said[:-1], said[-1] + "'s")
    return letters(match[0])


def _phrase(match: re.Match[str], context: Context) -> Words:
    return _PHRASES[match[0].lower()]


def _abbreviation(match: re.Match[str], context: Context) -> Words | None:
    short = match[1].lower()
    name = re.match(r" ?[A-Z]", context.shape[match.end() :]) is not None
    if short in ("dr", "st"):
        return _doctor_or_street(short, match, context, name)
    if short not in ABBREVIATIONS or (short == "dec" and match[1] != "Dec"):
        return None
    full, where = ABBREVIATIONS[short]
    if short in ("no", "p", "co", "max", "fig", "sec", "est", "rep", "gen", "det", "fr") and (
        context.shouting
    ):
        return None
    dotted = match[0].endswith(".")
    if not dotted and short not in WITHOUT_DOT:
        return None
    rest = context.shape[match.end() :]
    fits = {
        ALWAYS: True,
        NAME: name and match[1][0].isupper(),
        DIGIT: re.match(r" ?[0-9]", rest) is not None,
        GOES_ON: re.match(r",? [a-z0-9]", rest) is not None,
    }
    return full.split() if fits[where] else None


def _doctor_or_street(short: str, match: re.Match[str], context: Context, name: bool) -> Words:
    """*Dr.* is doctor before a name and drive after one; *St.* is saint or street."""
    title, road = {"dr": ("doctor", "drive"), "st": ("saint", "street")}[short]
    before = context.before(match.start())
    own_start = match.start() - len(before) - 1
    is_name = before[:1].isupper() or re.fullmatch(r"[0-9]+(?:st|nd|rd|th)?", before) is not None
    after_name = is_name and not (
        context.begins_sentence(max(own_start, 0)) and before.lower() in _NOT_NAMES
    )
    if before.lower() in _SAINTLY or not after_name or context.begins_sentence(match.start()):
        return (title,)
    return (title,) if name and before.lower() in _NOT_NAMES else (road,)


_NOT_NAMES = frozenset({
    "in", "at", "on", "from", "to", "for", "the", "and", "but", "or", "so", "of", "by", "with",
    "near", "is", "was", "ask", "call", "hello", "hi", "hey", "oh", "yes", "no", "thanks", "dear",
    "thank", "then", "well", "now", "mr", "mrs", "ms", "this", "that", "when", "if", "our", "my",
    "your",
})  # fmt: skip


def _numbered(match: re.Match[str], context: Context) -> list[Piece] | None:
    """Part II, World War I."""
    roman = match[2]
    if context.shouting and roman == "I":
        return None
    start = match.start(2)
    word = match[1]
    said = tuple(part_words(word, context, match.start(1)))
    if word.endswith("."):
        said = (_NUMBERED_IN_FULL.get(word[:-1].lower(), word[:-1].lower()),)
    return [
        Piece(match.start(1), match.end(1), said),
        Piece(match.end(1), start, (), "space"),
        Piece(start, match.end(2), cardinal(str(roman_value(roman)))),
    ]


def _reign(match: re.Match[str], context: Context) -> list[Piece] | None:
    """Henry VIII; a lone *I* only before the end of a phrase, because it is mostly a pronoun."""
    roman = match[2]
    if roman in ("X", "L") or (roman == "I" and context.after(match.end())):
        return None
    start = match.start(2)
    name = match[1]
    return [
        Piece(match.start(1), match.end(1), tuple(part_words(name, context, match.start(1)))),
        Piece(match.end(1), start, (), "space"),
        Piece(start, match.end(), _of(ordinal(str(roman_value(roman))), match[3])),
    ]


def _of(words: tuple[str, ...], possessive: str | None) -> tuple[str, ...]:
    """An ordinal with its article, and with 's where the numeral has it."""
    return ("the", *words[:-1], words[-1] + "'s") if possessive else ("the", *words)


def roman_value(roman: str) -> int:
    """Return the value of a Roman numeral up to 89."""
    values = [_VALUES[letter] for letter in roman]
    following = [*values[1:], 0]
    pairs = zip(values, following, strict=True)
    return sum(-value if value < after else value for value, after in pairs)


def _word(match: re.Match[str], context: Context) -> list[Piece]:
    """A word, or several words joined by hyphens."""
    written = context.text[match.start() : match.end()]
    whole = plain_word(written)
    if "-" not in match[0] or context.knows(whole):
        return [Piece(match.start(), match.end(), _whole_word(written, match.start(), context))]
    pieces: list[Piece] = []
    parts = list(re.finditer(r"[^-]+|-+", match[0]))
    for place, found in enumerate(parts):
        start, end = match.start() + found.start(), match.start() + found.end()
        if found[0].startswith("-"):
            pieces.append(Piece(start, end, (), "punctuation"))
            continue
        part = context.text[start:end]
        follows = plain_word(parts[place + 2][0]) if place + 2 < len(parts) else ""
        plain = plain_word(part)
        stutters = follows.startswith(plain) and follows != plain and not _has_vowel(plain)
        if stutters and whole not in _NO_STUTTER:
            pieces.append(Piece(start, end, (f"{plain}-",)))  # w-what
        else:
            pieces.append(Piece(start, end, _whole_word(part, start, context)))
    return pieces


_NO_STUTTER = frozenset({"d-day", "t-test", "b-boy", "b-boys", "h-hour", "g-girl"})


def _whole_word(written: str, start: int, context: Context) -> tuple[str, ...]:
    """The words of one written word; a word that no dictionary has keeps its spelling."""
    said = tuple(part_words(written, context, start))
    return said or (plain_word(written) or written.lower(),)


def part_words(written: str, context: Context, start: int) -> Words:
    """Say a written word without hyphens: a letter, an initialism, a shout, or a word.

    Args:
        start: its place in the line.
    """
    plain = plain_word(written)
    bare = plain.strip("'")
    if len(bare) == 1 and bare.isascii() and bare.isalpha() and not _contraction(plain, context):
        return _single_letter(written.strip("'"), plain, start, context)
    capitals = re.fullmatch(r"([A-Z]{2,})('?s)?", written.replace("’", "'"))
    if capitals:
        said = _capitals(capitals[1], start, context)
        if said and capitals[2]:
            return (*said[:-1], said[-1] + "'s") if len(said) > 1 else (said[0] + capitals[2],)
        if said:
            return said
    if context.knows(plain) or context.knows(plain.removesuffix("'s")):
        return (plain,)
    if "'n'" in plain.strip("'"):  # rock'n'roll
        return [word for part in re.split(r"('n')", plain) for word in (part,) if word]
    drawn = _undrawn(plain, context)
    if drawn:
        return (drawn,)
    if re.fullmatch(r"[A-Z]{2,}[a-z]{1,2}", written):  # a formula: HAc
        return letters(written)
    camel = re.findall(r"[^\W\d_]?[a-z']+|[A-Z]+(?![a-z])", written)
    if len(camel) > 1 and "".join(camel) == written and re.search("[a-z][A-Z]", written):
        return [word for part in camel for word in _camel_part(part, context)]
    if bare.isascii() and len(bare) > 1 and not _has_vowel(bare) and bare.isalpha():
        return letters(bare)
    return (plain,)


def _contraction(plain: str, context: Context) -> bool:
    """Whether a letter with apostrophes is a word: ``'n'``."""
    return "'" in plain and context.known(plain)


def _camel_part(part: str, context: Context) -> Words:
    if len(part) == 1 or (part.isupper() and not context.knows(part.lower())):
        return letters(part)
    plain = plain_word(part)
    return (plain,) if context.knows(plain) or _has_vowel(plain) else letters(part)


def _single_letter(written: str, plain: str, start: int, context: Context) -> Words:
    """A lone letter is said by its name, but *I*, *O* and the article *a* are words."""
    if plain.strip("'") in ("i", "o"):
        return (plain,)
    if plain != "a":
        return letters(plain)
    end = start + len(written)
    follows = context.shape[end : end + 1]
    title = re.match(r"\s+[A-Z]", context.shape[end:]) is not None
    article = context.shouting or context.begins_sentence(start) or title or "…" in follows
    article = article or re.match(r"\.\.\.|-[aA]", context.shape[end:]) is not None
    if written == "A" and re.match(r"-[^\W\dAa_]", context.shape[end:]) and not context.shouting:
        article = False  # A-list
    return letters("a") if written == "A" and (not article or follows in ("+", "&")) else (plain,)


def _capitals(written: str, start: int, context: Context) -> Words | None:
    """The letters of an initialism; None if the capitals are a word, or emphasis."""
    plain = written.lower()
    if context.shouting:
        known = context.known(plain)
        return None if known or (len(plain) > 3 and _has_vowel(plain)) else letters(plain)
    before = context.before(start).lower()
    if written in INITIALISMS or (written in _AFTER_THE and before in ("the", "a", "an", "in")):
        return letters(plain)
    if written == "II" or (len(written) > 2 and re.fullmatch(r"X{0,2}(?:IX|IV|V?I{0,3})", written)):
        return None if context.known(plain) else cardinal(str(roman_value(written)))
    if context.known(plain) or _undrawn(plain, context):
        return None
    return letters(plain) if len(plain) < 5 or not _has_vowel(plain) else None


_ENDS_DOUBLE = frozenset({
    "see", "free", "three", "tree", "bee", "fee", "knee", "flee", "agree", "boo", "too", "zoo",
    "woo", "moo", "all", "ball", "fall", "tall", "call", "well", "hell", "tell", "bell", "ill",
    "will", "kill", "still", "off", "miss", "kiss", "pass", "boss", "mess", "yell", "fell",
    "full", "pull", "shoo", "hiss", "yippee", "coffee", "guarantee",
})  # fmt: skip


def _undrawn(plain: str, context: Context) -> str:
    """The word behind letters that are repeated for effect: ``nooo`` → no; empty if none is."""
    if not re.search(r"([a-z])\1\1", plain):
        return ""
    double = re.sub(r"([a-z])\1{2,}", r"\1\1", plain)
    single = re.sub(r"([a-z])\1{2,}", r"\1", plain)
    ends = re.search(r"([a-z])\1\1$", plain) is not None
    order = (single, double) if ends and double not in _ENDS_DOUBLE else (double, single)
    return next((word for word in order if context.knows(word)), "")


def _has_vowel(word: str) -> bool:
    return any(letter in "aeiouy" for letter in word)


ADDRESS_RULES: tuple[Rule, ...] = (
    rule(r"(?<![\w.+-])[\w.+-]*\w@[\w-]+(?:\.[\w-]+)+(?<!\.)", _address),
    rule(r"(?<!\w)[A-Za-z]+://[^\s<>\"]*[\w/]", _address),
    rule(rf"(?<![\w@.])(?:www\.)?(?:[A-Za-z0-9-]+\.)+(?:{_DOMAINS})(?:/[^\s<>\"]*[\w/])?(?![\w])",
         _address),
    rule(r"(?<!\w)([#@])([^\W\d]\w*)", _hashtag),
    rule(r"(?<!\w)[Nn]° ?(?=[0-9])", lambda match, context: ("number",)),
    rule(r"(?<!\w)WW(?:I{1,2}|[12])(?!\w)", _war),
)  # fmt: skip
"""Come before the rules of numbers; in order: the first rule that fits is used."""

WORD_RULES: tuple[Rule, ...] = (
    rule(r"(?<!\w)I(?=,? (?:and |or |to )?II(?!\w))", lambda match, context: ("one",)),
    rule(r"(?<!\w)(?:w/o|and/or|n/a|b/c|c/o|ac/dc)(?!\w)|(?<!\w)w/(?=\s|\w)", _phrase,
         ignore_case=True),
    rule(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?:[A-Za-z](?!\w)|'s(?!\w))?", _dotted),
    rule(r"(?<!\w)Ph\.?D(?:\.|s)?(?!\w)", _dotted),
    rule(r"(?<!\w)[A-Z]{1,3}(?:&[A-Z]{1,3})+(?!\w)", _with_and),
    rule(rf"(?<!\w)({_DAY})\.?[-–]({_DAY})(?!\w)", _days),
    rule(rf"(?<!\w)((?i:{_NUMBERED})|(?i:{_SHORT_NUMBERED})\.)\s({_ROMAN})(?![\w'-])", _numbered),
    rule(rf"(?<!\w)((?i:{_REIGNS}))\s({_ROMAN})('s)?(?![\w'-])", _reign),
    rule(r"(?<![\w'-])([A-Za-z]{1,6})(?:\.|(?![\w'.-]))", _abbreviation),
    rule(rf"(?<!\w)'?{_APOSTROPHED}(?:-+{_APOSTROPHED})*'?(?![{MARK}])", _word),
    rule(rf"'?{_APOSTROPHED}'?", _word),
)  # fmt: skip
"""Come after the rules of numbers."""
