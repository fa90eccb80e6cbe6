"""A small grammar of film dialogue: sentences of four to nine words with an emotional wording.

Every emotion of :data:`redub.core.types.EMOTIONS` has its templates; ``neutral`` wording shows no
emotion. Each sentence belongs to exactly one *share* (part) of the language, by a checksum of its
text. So splits that use different shares never have a sentence in common.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

SHARES = 20
"""Number of parts into which :func:`share_of` divides the language."""

SLOTS: dict[str, tuple[str, ...]] = {
    "person": (
        "captain",
        "doctor",
        "farmer",
        "teacher",
        "sailor",
        "baker",
        "painter",
        "singer",
        "driver",
        "gardener",
        "miller",
        "hunter",
        "lady",
        "king",
        "queen",
        "brother",
        "sister",
        "mother",
        "father",
        "neighbor",
    ),
    "noun": (
        "table",
        "letter",
        "window",
        "garden",
        "bottle",
        "candle",
        "basket",
        "ladder",
        "pocket",
        "ribbon",
        "hammer",
        "mirror",
        "carpet",
        "kettle",
        "picture",
        "paper",
        "button",
        "engine",
        "lantern",
        "blanket",
        "wagon",
        "barrel",
        "bucket",
        "saddle",
        "pillow",
        "curtain",
        "book",
        "key",
        "box",
        "lamp",
        "boat",
        "coat",
        "map",
        "bell",
        "cake",
        "chair",
        "clock",
        "door",
        "rope",
        "stone",
    ),
    "adjective": (
        "small",
        "large",
        "brown",
        "round",
        "wooden",
        "heavy",
        "narrow",
        "yellow",
        "green",
        "little",
        "simple",
        "plain",
        "new",
        "second",
    ),
    "did": (
        "moved",
        "carried",
        "found",
        "opened",
        "painted",
        "counted",
        "washed",
        "covered",
        "borrowed",
        "wrapped",
        "measured",
        "repaired",
        "collected",
        "placed",
    ),
    "do": (
        "move",
        "carry",
        "find",
        "open",
        "paint",
        "count",
        "wash",
        "cover",
        "borrow",
        "wrap",
        "measure",
        "repair",
    ),
    "place": (
        "near the river",
        "by the road",
        "on the bridge",
        "in the kitchen",
        "under the stairs",
        "behind the house",
        "at the station",
        "in the village",
        "on the hill",
        "at the market",
        "in the office",
        "near the harbor",
    ),
    "time": (
        "today",
        "tomorrow",
        "in the morning",
        "on Monday",
        "after lunch",
        "before dinner",
        "at seven",
        "on Friday",
        "at noon",
        "every evening",
    ),
    "rage": ("stupid", "rotten", "damn", "wretched", "useless", "miserable"),
    "ruin": ("broke", "stole", "ruined", "smashed", "destroyed", "wrecked"),
    "foul": ("filthy", "rotten", "nasty", "sticky", "greasy", "moldy", "slimy", "disgusting"),
    "dread": ("dark", "haunted", "dangerous", "horrible", "terrible", "deadly"),
    "joy": ("wonderful", "lovely", "beautiful", "delightful", "perfect", "marvelous", "happy"),
    "grief": ("lonely", "empty", "lost", "forgotten", "broken", "faded"),
    "wonder": ("amazing", "incredible", "enormous", "sudden", "impossible", "astonishing"),
    "dream": ("silver", "distant", "silent", "strange", "secret", "floating"),
}

MOST_CHOICES = max(map(len, SLOTS.values()))
"""How many words the richest place of a sentence has."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "angry": (
        "I hate that {rage} {noun} {place}",
        "you {ruin} my {noun} again",
        "the {person} {ruin} my {rage} {noun}",
        "get that {rage} {noun} away from me",
        "I am furious about the {rage} {noun}",
        "how dare you touch my {adjective} {noun}",
        "stop fighting over the {rage} {noun} {time}",
        "the {person} lied about the {rage} {noun}",
    ),
    "disgust": (
        "the {noun} smells {foul} and {foul}",
        "take that {foul} {noun} away {time}",
        "I feel sick near the {foul} {noun}",
        "there is {foul} dirt on the {noun}",
        "the {person} spat on the {foul} {noun}",
        "what a {foul} {noun} {place}",
        "the {foul} {noun} stinks {place}",
    ),
    "fear": (
        "I am afraid of the {dread} {noun}",
        "something {dread} is hiding {place}",
        "please hide me from the {dread} {person}",
        "run before the {dread} {person} comes back",
        "I heard a {dread} scream {place}",
        "help me escape from the {dread} {noun}",
        "the {person} is in danger {place}",
        "do not open the {dread} {noun} {time}",
    ),
    "happy": (
        "what a {joy} {noun} {place}",
        "I love the {joy} {noun} so much",
        "we will celebrate with the {person} {time}",
        "the {person} gave me a {joy} {noun}",
        "I am so glad about the {joy} {noun}",
        "come and dance with the {joy} {person}",
        "this {joy} {noun} makes me laugh {time}",
    ),
    "neutral": (
        "the {person} {did} the {noun} {place}",
        "the {person} {did} a {adjective} {noun} {time}",
        "we {did} the {adjective} {noun} {place}",
        "there is a {adjective} {noun} {place}",
        "they will {do} the {adjective} {noun} {time}",
        "you can {do} the {noun} {place}",
        "the {adjective} {noun} is {place}",
    ),
    "sad": (
        "I miss the {grief} {noun} {place}",
        "the {person} died {place}",
        "the {person} is gone and the {noun} is {grief}",
        "nobody remembers the {grief} {person} {time}",
        "I cried beside the {grief} {noun} {time}",
        "my {person} left me a {grief} {noun}",
        "we lost the poor {person} {place}",
        "I am sorry about your {grief} {noun}",
    ),
    "surprise": (
        "look at that {wonder} {noun} {place}",
        "wow the {person} found a {wonder} {noun}",
        "I never expected a {wonder} {noun} {time}",
        "what is that {wonder} {noun} {place}",
        "suddenly the {wonder} {noun} appeared {place}",
        "I cannot believe this {wonder} {noun}",
        "where did the {wonder} {noun} come from",
    ),
    "others": (
        "perhaps the {dream} {noun} was a dream",
        "the {dream} {noun} turns and turns {time}",
        "who counts the {dream} {noun} {time}",
        "one {noun} two {noun} three {dream} {noun}",
        "maybe the {person} is only a {dream} {noun}",
        "the {dream} {noun} sleeps {place}",
        "I wonder why the {dream} {noun} sleeps",
        "as above so below the {dream} {noun}",
    ),
}


def _slots_of(template: str) -> list[str]:
    return [part.partition("}")[0] for part in template.split("{")[1:]]


def language_size(wording: str) -> int:
    """Count the slot fillings of a wording; a few of them may give the same sentence."""
    return sum(
        math.prod(len(SLOTS[slot]) for slot in _slots_of(template))
        for template in TEMPLATES[wording]
    )


def compose(wording: str, rng: np.random.Generator, *, choices: int = MOST_CHOICES) -> str:
    """Draw one lower-case sentence (only the word ``I`` and day names are capital).

    Args:
        choices: each place of a template is filled with one of so many words at most.
    """
    template = TEMPLATES[wording][int(rng.integers(len(TEMPLATES[wording])))]
    for slot in _slots_of(template):
        known = SLOTS[slot][:choices]
        fitting = [word for word in known if f" {word} " not in f" {template} "]
        word = fitting[int(rng.integers(len(fitting)))]
        template = template.replace("{" + slot + "}", word, 1)
    return template


def share_of(sentence: str) -> int:
    """Return the part of the language to which a sentence belongs, 0 to ``SHARES - 1``."""
    return zlib.crc32(sentence.lower().encode()) % SHARES


def compose_from(
    wording: str,
    shares: range,
    taken: set[str],
    rng: np.random.Generator,
    *,
    choices: int = MOST_CHOICES,
) -> str:
    """Draw a sentence that lies in ``shares`` and is not ``taken`` yet; see :func:`compose`.

    Raises:
        ValueError: a thousand draws gave no new sentence; the film has too many lines.
    """
    for _ in range(1000):
        sentence = compose(wording, rng, choices=choices)
        if share_of(sentence) in shares and sentence not in taken:
            return sentence
    raise ValueError(f"no new sentence with {wording} wording; the film has too many lines")


def written(sentence: str) -> str:
    """Format a sentence for a subtitle: capital first letter and full stop."""
    return sentence[0].upper() + sentence[1:] + "."


def vocabulary() -> set[str]:
    """Return all words of the grammar in lower case."""
    words: set[str] = set()
    for templates in TEMPLATES.values():
        for template in templates:
            words.update(w.lower() for w in template.split() if "{" not in w)
    for choices in SLOTS.values():
        words.update(w.lower() for choice in choices for w in choice.split())
    return words
