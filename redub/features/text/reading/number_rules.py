"""How numbers are read: telephone numbers, dates, times, money, fractions, units, ranges, years."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from redub.features.text.reading.chain_rules import CHAIN_RULES
from redub.features.text.reading.money_rules import MONEY_RULES
from redub.features.text.reading.numbers import (
    cardinal,
    each_digit,
    fraction,
    number,
    ordinal,
    plural_of_last,
    short_year,
    year,
)
from redub.features.text.reading.rule import (
    BEGIN,
    END,
    MINUS,
    NUMBER,
    WHOLE,
    Context,
    Rule,
    Words,
    letters,
    rule,
)
from redub.features.text.reading.shape import NUMERIC, SIGN
from redub.features.text.reading.units import MONTHS, UNITS

_MONTH = "|".join(sorted((re.escape(name) for name in MONTHS), key=len, reverse=True))
_UNIT = "|".join(sorted((re.escape(name) for name in UNITS), key=len, reverse=True))

_SAID_AS = {
    ("24", "7"): ("twenty", "four", "seven"),
    ("9", "11"): ("nine", "eleven"),
    ("50", "50"): ("fifty", "fifty"),
    ("20", "20"): ("twenty", "twenty"),
}
_ALWAYS_OPEN = ("twenty", "four", "seven", "three", "sixty", "five")
_YEAR_BEFORE = frozenset({
    "in", "since", "until", "till", "by", "year", "from", "before", "after", "around", "circa",
    "class", "summer", "winter", "spring", "fall", "autumn", "of", "christmas", "late", "early",
    "during", "between", "and",
})  # fmt: skip


def _phone(match: re.Match[str], context: Context) -> Words:
    said: list[str] = ["plus"] if match[0].startswith("+") else []
    for group in re.findall(r"[0-9]+", match[0]):
        said += cardinal(group) if group in ("800", "900") else each_digit(group)
    return said


def _short_phone(match: re.Match[str], context: Context) -> Words | None:
    if match[1].endswith("0") and match[2].endswith("0"):
        return None  # 100-1500 is a range
    return each_digit(match[0])


def _emergency(match: re.Match[str], context: Context) -> Words | None:
    asked = context.before(match.start()).lower() in ("call", "dial", "called", "ring", "dialed")
    if match[0] == "911" and context.before(match.start()).lower() != "porsche":
        return each_digit(match[0])
    return each_digit(match[0]) if asked else None


def _date(match: re.Match[str], context: Context) -> Words | None:
    first, mark, second, of_year = match.groups()
    month, day = (int(first), int(second)) if mark == "/" else (int(second), int(first))
    if month > 12:
        month, day = day, month
    if mark != "/" and len(of_year) == 2:
        return None
    return _month_day(month, day, of_year)


def _iso_date(match: re.Match[str], context: Context) -> Words | None:
    return _month_day(int(match[3]), int(match[4]), match[1])


def _month_day(month: int, day: int, of_year: str) -> Words | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    names = tuple(dict.fromkeys(MONTHS.values()))
    said: tuple[str, ...] = ()
    if of_year:
        of_year = "2000" if of_year == "00" else of_year
        said = year(of_year) if len(of_year) == 4 else short_year(of_year)
    return (names[month - 1], *ordinal(str(day)), *said)


def _day_month(match: re.Match[str], context: Context) -> Words | None:
    day, suffix, of, month, of_year = match.groups()
    if not 1 <= int(day) <= 31:
        return None
    bare = not suffix and not of and context.before(match.start()).lower() != "the"
    said = (*(("the",) if bare else ()), *ordinal(day), "of", MONTHS[month])
    return (*said, *(year(of_year) if of_year else ()))


def _written_date(match: re.Match[str], context: Context) -> Words | None:
    month, day, of_year = match.groups()
    if not 1 <= int(day) <= 31:
        return None
    return (MONTHS[month], *ordinal(day), *(year(of_year) if of_year else ()))


def _month_year(match: re.Match[str], context: Context) -> Words:
    return (MONTHS[match[1]], *year(match[2]))


def _time(match: re.Match[str], context: Context) -> Words:
    hour, minute, second, half = match.groups()
    said = list(cardinal(str(int(hour))))
    if second is not None:
        for part in (minute, second):
            said += ("zero", "zero") if part == "00" else short_year(part)
    elif minute != "00":
        said += short_year(minute)
    elif half is None:
        said.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    return (*said, *((half.upper(), "M") if half else ()))


def _hour(match: re.Match[str], context: Context) -> Words | None:
    return (*cardinal(match[1]), match[2].upper(), "M")


def _ratio(match: re.Match[str], context: Context) -> Words:
    return (*cardinal(match[1]), "to", *cardinal(match[2]))


def _fraction(match: re.Match[str], context: Context) -> Words | None:
    whole, over, under, unit = match.groups()
    before = context.before(match.start()).lower()
    if not whole and not unit and before == "on" and int(under) <= 31 and 1 <= int(over) <= 12:
        return _month_day(int(over), int(under), "")
    if not whole and (over, under) in _SAID_AS:
        return _SAID_AS[over, under]
    if not whole and not unit and int(over) + int(under) == 100 and int(over) > 9:
        return (*cardinal(over), *cardinal(under))  # 60/40
    if not whole and not unit and context.after(match.end()).lower() in ("time", "beat"):
        return (*cardinal(over), *cardinal(under))  # 4/4 time
    if not whole and not unit and over == under and int(over) >= 5:
        return (*cardinal(over), "out", "of", *cardinal(under))  # 10/10
    said: tuple[str, ...] = fraction(over, under)
    if whole:
        if int(over) >= int(under):
            return None
        said = (*cardinal(whole), "and", *said)
    return (*said, *(UNITS[unit][1 if whole else 0] if unit else ()))


def _numeric(match: re.Match[str], context: Context) -> Words:
    """A number inside one character, after an optional whole number: 3½, ², Ⅷ."""
    whole = match[1]
    sign = context.text[match.end() - 1]
    value = Fraction(unicodedata.numeric(sign)).limit_denominator(1000)
    powers = {"²": "squared", "³": "cubed"}
    follows = match.start() > 0 and context.shape[match.start() - 1 : match.start()].isalnum()
    if sign in powers and (whole or follows):
        return (*(cardinal(whole) if whole else ()), powers[sign])
    if value.denominator == 1:
        own = cardinal(str(value.numerator)) if value >= 0 else ("minus",)
        return (*(cardinal(whole) if whole else ()), *own)
    own = fraction(str(value.numerator), str(value.denominator))
    return (*cardinal(whole), "and", *own) if whole else own


_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def _thousands(match: re.Match[str], context: Context) -> Words:
    """10 000 and 1.000.000, where the groups are thousands without doubt."""
    return cardinal(re.sub(r"[ .]", "", match[0]))


def _raised(match: re.Match[str], context: Context) -> Words | None:
    """A number with a power in raised digits: 10⁻³."""
    raised = context.text[match.start(2) : match.end()]
    digits = raised.removeprefix("⁻")
    if not digits or set(digits) - set(_RAISED):
        return None
    minus = len(raised) > len(digits)
    plain = "".join(str(_RAISED.index(digit)) for digit in digits)
    return (*cardinal(match[1]), *_power_words(minus, plain))


def _version(match: re.Match[str], context: Context) -> Words:
    said: list[str] = ["version"] if match[0][0] in "vV" else []
    for place, group in enumerate(match[1].split(".")):
        said += (("point",) if place else ()) + cardinal(group)
    return said


def _several(match: re.Match[str], context: Context) -> Words:
    """Several of a number: 1990s, '80s, 747s."""
    digits = match[1]
    said = year(digits) if len(digits) == 4 and digits[0] in "12" else cardinal(digits)
    return plural_of_last(said)


def _short_year(match: re.Match[str], context: Context) -> Words:
    return short_year(match[1])


def _ordinal(match: re.Match[str], context: Context) -> Words:
    return ordinal(match[1])


def _feet(match: re.Match[str], context: Context) -> Words:
    return (*cardinal(match[1]), "foot", *cardinal(match[2]))


_MEASURED = frozenset({
    "tall", "by", "x", "high", "wide", "long", "deep", "thick", "away", "down", "up", "of", "and",
})  # fmt: skip


def _inches(match: re.Match[str], context: Context) -> Words | None:
    """6' or 12", where no quotation mark is open."""
    digits, mark = match.groups()
    before = context.shape[: match.start()]
    if len(re.findall(rf"(?<![\w]){mark}|(?<=[^\W\d]){mark}(?!\w)", before)) % 2:
        return None  # the mark closes a quotation
    ends = re.match(r"\s*(?:[.,;!?]|$)", context.shape[match.end() :])
    if mark == "'" and not ends and context.after(match.end()).lower() not in _MEASURED:
        return None
    one = digits == "1" or _describes(match, context)
    return (*cardinal(digits), {"'": ("feet", "foot"), '"': ("inches", "inch")}[mark][one])


def _feet_inches(match: re.Match[str], context: Context) -> Words:
    """6 ft 2 in."""
    feet, inches = match.groups()
    said = (*cardinal(feet), "foot" if feet == "1" else "feet") if feet else ()
    one = inches == "1" or _describes(match, context)
    return (*said, *number(inches), "inch" if one else "inches")


def _describes(match: re.Match[str], context: Context) -> bool:
    """Whether a quantity describes a thing: a 12 inch ruler."""
    article = context.before(match.start()).lower() in ("a", "an")
    return article and re.match(r" [a-z]", context.shape[match.end() :]) is not None


def _quantity(match: re.Match[str], context: Context) -> Words | None:
    minus, amount, mark, most, unit, power = match.groups()
    said = [*(("minus",) if minus else ()), *number(amount)]
    if mark and not minus:
        said += ("to", *number(most))
    one, many = UNITS[unit]
    if power:
        sign = context.text[match.end() - 1]
        if sign not in "²³23":
            return None
        said.append("square" if sign in "²2" else "cubic")
    describes = _describes(match, context)
    attribute = describes or (match[0][len(amount) + len(minus or "")] == "-" and not most)
    return (*said, *(one if (amount == "1" and not most) or attribute else many))


def _range(match: re.Match[str], context: Context) -> Words | None:
    minus, first, mark, second = match.groups()
    if first == second and not minus:
        return (*number(first), *number(second))  # fifty-fifty
    if minus:
        return ("minus", *number(first), "to", *number(second))
    if mark.strip() == "-" and mark != "-" and "=" in context.shape:
        return (*number(first), "minus", *number(second))
    years = len(first) == 4 and first[0] in "12" and first.isdigit()
    said = year(first) if years else number(first)
    if years and len(second) == 2 and mark.strip() in "-–":
        return (*said, "to", *short_year(second))
    return (*said, "to", *(year(second) if years and len(second) == 4 else number(second)))


def _by(match: re.Match[str], context: Context) -> Words:
    return (*number(match[1]), "times" if match[2] == "×" else "by", *number(match[3]))


def _power(match: re.Match[str], context: Context) -> Words:
    return _power_words(bool(match[1]), match[2])


def _power_words(minus: bool, digits: str) -> tuple[str, ...]:
    if not minus and digits in ("2", "3"):
        return ("squared",) if digits == "2" else ("cubed",)
    return ("to", "the", "power", "of", *(("minus",) if minus else ()), *cardinal(digits))


def _number(match: re.Match[str], context: Context) -> Words:
    minus, written = match.groups()
    said = number(written)
    if re.fullmatch(r"[1-9][0-9]{2}", written) and _names_a_place(match, context):
        said = (*cardinal(written[0]), *short_year(written[1:]))
    if re.fullmatch(r"[12][0-9]{3}", written) and _is_year(written, match, context):
        said = year(written)
    return (*(("minus",) if minus else ()), *said)


_PLACES = frozenset({
    "boeing", "airbus", "flight", "room", "route", "highway", "interstate", "suite", "apartment",
    "gate", "channel", "fahrenheit", "bus",
})  # fmt: skip


def _names_a_place(match: re.Match[str], context: Context) -> bool:
    """Whether a number of three digits is a name that is read in two parts: Room 237."""
    before = context.before(match.start())
    return before[:1].isupper() and before.lower() in _PLACES


def _is_year(written: str, match: re.Match[str], context: Context) -> bool:
    """Whether a number of four digits is read as a year; 1500 is also fifteen hundred."""
    if 1100 <= int(written) < 2000:
        return True
    dated = context.before(match.start()).lower() in _YEAR_BEFORE
    after = context.after(match.end())
    counted = bool(re.fullmatch(r"[a-z]+s|people|men|women|children", after)) and after not in (
        "was", "is", "has", "as",
    )  # fmt: skip
    return dated or (2010 <= int(written) < 2100 and not counted)


def _letters_and_digits(match: re.Match[str], context: Context) -> Words:
    """A word of letters and digits: MP3, F-16, 20-year-old, COVID-19, 4K."""
    said: list[str] = []
    written = match[0]
    written = written.removesuffix("'s")
    for found in re.finditer(r"([0-9]{2,})s(?![^\W_])|[0-9]+|[^\W\d_]+", written):
        token = found[0]
        if found[1]:
            several = year(found[1]) if len(found[1]) == 4 else cardinal(found[1])
            said += plural_of_last(several)
        elif token[0].isdigit():
            beside = found.start() > 0 or re.match(r"[A-Z](?!\w)", written[found.end() :])
            said += _digits_of_name(token, after_letter=bool(beside))
        elif _is_word(token, written, context):
            said.append(token.lower())
        else:
            said += letters(token) or (token.lower(),)
    if match[1] and said:
        said[-1] += "'s"
    return said


def _is_word(token: str, written: str, context: Context) -> bool:
    """Whether the letters in a name of letters and digits are a word, and not said one by one."""
    known = context.known(token.lower())
    if len(token) > 3:
        return known or any(letter in "aeiouyAEIOUY" for letter in token)
    if len(token) == 2:
        return token.islower() and "-" in written
    return len(token) == 3 and known and not token.isupper()


def _digits_of_name(digits: str, *, after_letter: bool) -> Words:
    if len(digits) == 3 and after_letter and digits[0] != "0":
        return (*cardinal(digits[0]), *short_year(digits[1:]))
    if len(digits) == 4 and digits[0] in "12":
        return year(digits)
    return cardinal(digits) if len(digits) <= 4 else each_digit(digits)


NUMBER_RULES: tuple[Rule, ...] = (
    rule(r"(?<!\w)\+[0-9]{1,3}(?:[ -]\(?[0-9]{2,5}\)?){2,5}(?!\w)", _phone),
    rule(r"(?<![\w-])(?:1[ -])?(?:\([0-9]{3}\) ?|[0-9]{3}[-. ])[0-9]{3}[-.][0-9]{4}(?![\w-])",
         _phone),
    rule(r"(?<![\w.,-])0[0-9]{2,4}(?: [0-9]{3,4}){1,3}(?![\w-])", _phone),
    rule(r"(?<!\w)\(0[0-9]{2,5}\)(?: [0-9]{3,6}){1,3}(?![\w-])", _phone),
    rule(rf"{BEGIN}([0-9]{{3}})-([0-9]{{4}})(?![\w-])", _short_phone),
    *CHAIN_RULES,
    rule(rf"{BEGIN}(?:911|999|112|411|311)(?![\w-]|[.,:/][0-9])", _emergency),
    rule(rf"{BEGIN}([0-9]{{4}})([-/])([01]?[0-9])\2([0-3]?[0-9])(?![\w/-])", _iso_date),
    rule(rf"{BEGIN}([0-9]{{1,2}})([/.-])([0-9]{{1,2}})\2([0-9]{{4}}|[0-9]{{2}})(?![\w/-]|\.[0-9])",
         _date),
    rule(rf"{BEGIN}([0-9]{{1,2}})(st|nd|rd|th)? (of )?({_MONTH})(?:,? ([12][0-9]{{3}}))?{END}",
         _day_month),
    rule(rf"(?<!\w)({_MONTH}) ([0-9]{{1,2}})(?:st|nd|rd|th)?(?:,? ([12][0-9]{{3}}))?"
         r"(?![\w:/%-]|[.,][0-9]|–)", _written_date),
    rule(rf"(?<!\w)({_MONTH}),? ([12][0-9]{{3}})(?![\w-]|[.,][0-9])", _month_year),
    rule(rf"{BEGIN}([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?(?: ?([aApP])\.?[mM]\b\.?)?"
         r"(?![\w:])", _time),
    rule(rf"{BEGIN}([0-9]{{1,2}}) ?([aApP])(?:\.[mM]\.?|[mM]){END}", _hour),
    rule(rf"{BEGIN}([0-9]+):([0-9]+)(?![\w:])", _ratio),
    *MONEY_RULES,
    rule(rf"(?<![\w.,/])(?:([0-9]+)[ -])?([0-9]{{1,3}})/([0-9]{{1,3}})(?: ?({_UNIT}))?(?![\w/])",
         _fraction),
    rule(rf"{BEGIN}[1-9][0-9]{{0,2}}(?:(?: 000)+|(?:\.000){{2,}})(?![\w-]|[.,][0-9])", _thousands),
    rule(rf"{BEGIN}24/7/365{END}", lambda match, context: _ALWAYS_OPEN),
    rule(rf"{BEGIN}([0-9]+)({SIGN}?{NUMERIC}+)", _raised),
    rule(rf"(?<![0-9])(?:([0-9]+) ?)?({NUMERIC})", _numeric),
    rule(rf"(?<![\w.])[vV]?([0-9]+(?:\.[0-9]+){{2,}}){END}", _version),
    rule(r"(?<![\w.])[vV]\.? ?([0-9]+(?:\.[0-9]+)*)(?!\w)", _version),
    rule(rf"(?:(?<![\w.,])'|{BEGIN})([0-9]{{2,4}})'?s(?!\w)", _several),
    rule(r"(?<!\w)'([0-9]{2})(?![\w'])", _short_year),
    rule(rf"{BEGIN}({WHOLE})(?:st|nd|rd|th|ST|ND|RD|TH){END}", _ordinal),
    rule(rf"{BEGIN}([0-9]+)' ?([0-9]{{1,2}})(?:\"|'')?{END}", _feet),
    rule(rf"{BEGIN}([0-9]+)(['\"])(?!\w)", _inches),
    rule(rf"{BEGIN}([0-9]+) ?ft\.? ([0-9]+) ?in(?!\w)\.?", _feet_inches),
    rule(rf"{BEGIN}()({NUMBER})in(?!\w)", _feet_inches),
    rule(rf"({MINUS})?{BEGIN}({NUMBER})(?:( ?[-–] ?)({NUMBER}))?[ -]?({_UNIT})"
         rf"((?<=m|t|i)(?:{NUMERIC}|\^?[23]))?(?!\w)", _quantity),
    rule(rf"({MINUS})?{BEGIN}({NUMBER})( ?[-–] ?)({NUMBER})(?![\w-]|[.,/:][0-9])", _range),
    rule(rf"{BEGIN}({NUMBER}) ?([x×]) ?({NUMBER}){END}", _by),
    rule(r"\^ ?(-)?([0-9]+)", _power),
    rule(r"(?<![\w'])(?=[^\W_]*(?:-[^\W_]+)*[0-9])(?=[0-9-]*[^\W\d_])[^\W_]+(?:-[^\W_]+)*"
         r"('s)?(?!\w)",
         _letters_and_digits),
    rule(rf"({MINUS})?(?<![\w])({NUMBER})", _number),
    rule(rf"()({NUMBER})", _number),
    rule(rf"()({NUMERIC})", _numeric),
)  # fmt: skip
"""In order: the first rule that fits is used."""
