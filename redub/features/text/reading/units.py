"""Tables of months, units of measure and currencies, as they are spoken."""

from __future__ import annotations

from redub.features.text.reading.numbers import cardinal, number

_MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SHORT = ("Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec")
MONTHS: dict[str, str] = {name: name.lower() for name in _MONTH_NAMES} | {
    short + dot: next(n.lower() for n in _MONTH_NAMES if n.startswith(short[:3]))
    for short in _SHORT
    for dot in (".", "")
}
"""Name or abbreviation of a month → its name, in the order of the year."""

_Spoken = tuple[tuple[str, ...], tuple[str, ...]]


def _unit(one: str, many: str = "") -> _Spoken:
    return tuple(one.split()), tuple((many or one + "s").split())


UNITS: dict[str, _Spoken] = {
    "%": _unit("percent", "percent"), "‰": _unit("per mille", "per mille"),
    "°C": _unit("degree celsius", "degrees celsius"), "°": _unit("degree"),
    "°F": _unit("degree fahrenheit", "degrees fahrenheit"),
    "km/h": _unit("kilometer per hour", "kilometers per hour"),
    "kmh": _unit("kilometer per hour", "kilometers per hour"),
    "kph": _unit("kilometer per hour", "kilometers per hour"),
    "mph": _unit("mile per hour", "miles per hour"),
    "m/s": _unit("meter per second", "meters per second"),
    "ft/s": _unit("foot per second", "feet per second"),
    "mm": _unit("millimeter"), "cm": _unit("centimeter"), "m": _unit("meter"),
    "km": _unit("kilometer"), "mi": _unit("mile"), "ft": _unit("foot", "feet"),
    "yd": _unit("yard"), "yds": _unit("yard"), "nm": _unit("nanometer"),
    "mg": _unit("milligram"), "g": _unit("gram"), "kg": _unit("kilogram"),
    "kgs": _unit("kilogram"), "lb": _unit("pound"), "lbs": _unit("pound"),
    "oz": _unit("ounce"), "ml": _unit("milliliter"), "mL": _unit("milliliter"),
    "cl": _unit("centiliter"), "l": _unit("liter"), "L": _unit("liter"),
    "ms": _unit("millisecond"), "sec": _unit("second"), "secs": _unit("second"),
    "min": _unit("minute"), "mins": _unit("minute"), "h": _unit("hour"), "hr": _unit("hour"),
    "hrs": _unit("hour"), "yr": _unit("year"), "yrs": _unit("year"),
    "Hz": _unit("hertz", "hertz"), "kHz": _unit("kilohertz", "kilohertz"),
    "MHz": _unit("megahertz", "megahertz"), "GHz": _unit("gigahertz", "gigahertz"),
    "W": _unit("watt"), "kW": _unit("kilowatt"), "MW": _unit("megawatt"),
    "kWh": _unit("kilowatt hour"), "V": _unit("volt"), "dB": _unit("decibel"),
    "kB": _unit("kilobyte"), "KB": _unit("kilobyte"), "MB": _unit("megabyte"),
    "GB": _unit("gigabyte"), "TB": _unit("terabyte"), "Mbps": _unit(
        "megabit per second", "megabits per second"),
    "kcal": _unit("kilocalorie"), "ppm": _unit("part per million", "parts per million"),
}  # fmt: skip
"""Abbreviation of a unit → what it is called for one, and for several."""

CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "¢": ("cent", "cents", "", ""),
}
"""Sign → one, several, a hundredth, several hundredths."""

COUNTRIES: dict[str, str] = {
    "US": "U S", "CA": "canadian", "C": "canadian", "AU": "australian", "A": "australian",
    "NZ": "new zealand", "HK": "hong kong", "SG": "singapore", "S": "singapore", "MX": "mexican",
}  # fmt: skip
"""What stands before ``$`` → how it is spoken before *dollars*."""

CODES: dict[str, tuple[str, str]] = {
    "USD": ("$", "U S"), "EUR": ("€", ""), "GBP": ("£", ""), "JPY": ("¥", ""), "INR": ("₹", ""),
    "CAD": ("$", "canadian"), "AUD": ("$", "australian"), "NZD": ("$", "new zealand"),
}  # fmt: skip
"""Code of a currency → its sign and its country, as in :data:`COUNTRIES`."""

SCALES: dict[str, str] = {
    "hundred": "hundred", "thousand": "thousand", "million": "million", "billion": "billion",
    "trillion": "trillion", "mn": "million", "bn": "billion", "k": "thousand", "K": "thousand",
    "m": "million", "M": "million", "b": "billion", "B": "billion", "tn": "trillion",
    "T": "trillion",
}  # fmt: skip
"""What may follow an amount of money → its name."""


def money_words(
    sign: str, amount: str, most: str | None, scale: str, *, singular: bool = False
) -> tuple[str, ...]:
    """Say an amount of money: ``$``, ``3.50`` → three dollars and fifty cents.

    Args:
        most: upper end of a range (``$5-10``), or None.
        scale: million and so on; empty without one.
        singular: the amount describes a thing (a twenty dollar bill).
    """
    one, many, cent, cents = CURRENCIES[sign]
    tail = (scale,) if scale else ()
    if most is not None:
        return (*number(amount), "to", *number(most), *tail, many)
    whole, _, hundredths = amount.partition(".")
    if len(hundredths) == 2 and cent and not scale:
        small = str(int(hundredths))
        said = (*cardinal(small), cent if small == "1" else cents) if int(hundredths) else ()
        if not whole or int(whole.replace(",", "")) == 0:
            return said or (*cardinal("0"), many)
        large = (*cardinal(whole), one if whole == "1" else many)
        return (*large, "and", *said) if said else large
    name = one if singular or (amount == "1" and not scale) else many
    return (*number(amount), *tail, name)
