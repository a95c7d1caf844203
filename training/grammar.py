"""The closed vocabulary and the texts of the training data, drawn from a seeded generator.

A spoken text has no punctuation, and only names, weekdays and months are capitalized; `sentence`
converts it to normal spelling. Numbers are words, never digits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
NAMES = ["Anna", "Peter", "Maria", "John", "Emma", "David", "Thomas", "Sarah"]
EVENTS = ["meeting", "appointment", "interview", "breakfast", "lunch", "dinner", "concert"]
PLACES = ["office", "hotel", "school", "kitchen", "garden", "station", "library", "hospital"]
THINGS = ["message", "letter", "ticket", "coffee", "water", "music", "question", "answer"]
COLORS = ["red", "green", "blue", "yellow", "black", "white"]
PARTS_OF_DAY = ["morning", "afternoon", "evening"]
GREETINGS = ["yes", "no", "hello", "goodbye", "thanks"]
FUNCTION_WORDS = [
    "is",
    "on",
    "at",
    "the",
    "of",
    "and",
    "my",
    "in",
    "with",
    "half",
    "past",
    "quarter",
    "for",
    "from",
    "after",
    "before",
]
CONTENT_WORDS = [
    "call",
    "number",
    "room",
    "price",
    "percent",
    "point",
    "today",
    "tomorrow",
    "tonight",
    "please",
    "remember",
    "now",
    "noon",
    "hundred",
    "thousand",
    "minutes",
    "thirtieth",
    "yesterday",
    "next",
    "last",
    "week",
    "month",
    "year",
    "hours",
    "open",
    "closed",
    "early",
    "cancel",
    "confirm",
    "telephone",
    "doctor",
]

WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            *DIGITS, *TEENS, *TENS, *ORDINALS, *DAYS, *MONTHS, *NAMES, *EVENTS, *PLACES, *THINGS, *COLORS,
            *PARTS_OF_DAY, *GREETINGS, *FUNCTION_WORDS, *CONTENT_WORDS,
        }
    )
)  # fmt: skip
# Function words occur in phrases only; alone they are too short to be recognized.
FREE_WORDS: tuple[str, ...] = tuple(sorted(set(WORDS) - set(FUNCTION_WORDS)))

STOP, QUESTION = ".", "?"
# A word at the start of a sentence is a token of its own.
SPELLINGS: tuple[str, ...] = tuple(
    sorted({*WORDS, *(word[0].upper() + word[1:] for word in WORDS)})
)

Phrase = Callable[[random.Random], str]


def sentence(text: str) -> str:
    """Return a spoken text as a sentence: capitalized, with a period or a question mark."""
    mark = QUESTION if text.split(maxsplit=1)[0] == "is" else STOP
    return text[0].upper() + text[1:] + mark


def digit_string(rng: random.Random, count: int) -> str:
    """Draw `count` digits; a third of the strings repeat or alternate digits.

    A narrow decoder drops repeated digits first, so they are oversampled.
    """
    style = rng.random()
    if style < 0.67:
        return " ".join(rng.choice(DIGITS) for _ in range(count))
    if style < 0.87:
        words: list[str] = []
        while len(words) < count:
            words += [rng.choice(DIGITS)] * rng.choice([1, 1, 2, 2, 3])
        return " ".join(words[:count])
    pair = rng.sample(DIGITS, 2)
    words = [pair[i % 2] for i in range(count)]
    if count > 2 and rng.random() < 0.5:
        words[rng.randrange(count)] = rng.choice(DIGITS)
    return " ".join(words)


def number(rng: random.Random, low: int = 0, high: int = 99) -> str:
    """Spell a number drawn from low..high, both within 0..99."""
    return spell_number(rng.randint(low, high))


def spell_number(value: int) -> str:
    """Spell 0..999 in words: 121 is `one hundred and twenty one`."""
    if value < 20:
        return (DIGITS + TEENS)[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return TENS[tens - 2] + (f" {DIGITS[ones]}" if ones else "")
    hundreds, rest = divmod(value, 100)
    return f"{DIGITS[hundreds]} hundred" + (f" and {spell_number(rest)}" if rest else "")


def big_number(rng: random.Random) -> str:
    """Spell a number of 100..999."""
    return spell_number(rng.choice([rng.randint(1, 9) * 100, rng.randint(100, 999)]))


def ordinal(rng: random.Random) -> str:
    """Spell a day of a month: first .. thirty first."""
    day = rng.randint(1, 31)
    if day <= 20:
        return ORDINALS[day - 1]
    if day == 30:
        return "thirtieth"
    return f"{TENS[day // 10 - 2]} {ORDINALS[day % 10 - 1]}"


def date(rng: random.Random) -> str:
    """Draw a date such as `the fifth of March`."""
    plain = f"the {ordinal(rng)} of {rng.choice(MONTHS)}"
    return rng.choice(
        [plain, f"{rng.choice(MONTHS)} {ordinal(rng)}", f"{rng.choice(DAYS)} {plain}"]
    )


def time_of_day(rng: random.Random) -> str:
    """Draw a time such as `seven thirty` or `half past nine`."""
    hour = number(rng, 1, 12)
    return rng.choice(
        [
            f"{hour} {number(rng, 10, 59)}",
            f"{hour} {rng.choice(['thirty', 'fifteen', 'forty five'])}",
            f"half past {hour}",
            f"quarter past {hour}",
            f"{hour} in the {rng.choice(PARTS_OF_DAY)}",
            "noon",
        ]
    )


def when(rng: random.Random) -> str:
    """Draw a point in time, from `now` to a date."""
    return rng.choice(
        [
            rng.choice(["today", "tomorrow", "tonight", "now", "yesterday"]),
            f"on {rng.choice(DAYS)}",
            f"on {rng.choice(DAYS)} {rng.choice(PARTS_OF_DAY)}",
            f"at {time_of_day(rng)}",
            f"on {date(rng)}",
            f"in {number(rng, 2, 59)} {rng.choice(['minutes', 'hours'])}",
            f"{rng.choice(['next', 'last'])} {rng.choice(['week', 'month', 'year', *DAYS, *MONTHS])}",
            f"{rng.choice(['before', 'after'])} {rng.choice(['noon', time_of_day(rng), *EVENTS])}",
        ]
    )


PHRASES: tuple[Phrase, ...] = (
    lambda r: f"call {r.choice(NAMES)} at {time_of_day(r)} {when(r)}",
    lambda r: f"please call {r.choice(NAMES)} {when(r)}",
    lambda r: f"{r.choice(NAMES)} and {r.choice(NAMES)} call {when(r)}",
    lambda r: f"the {r.choice(EVENTS)} is {when(r)}",
    lambda r: f"my {r.choice(EVENTS)} with {r.choice(NAMES)} is {when(r)}",
    lambda r: f"remember the {r.choice(EVENTS)} with {r.choice(NAMES)} {when(r)}",
    lambda r: f"my number is {digit_string(r, r.randint(4, 10))}",
    lambda r: f"the number of the room is {digit_string(r, r.randint(2, 4))}",
    lambda r: f"room {r.choice([number(r), big_number(r), digit_string(r, 3)])}",
    lambda r: f"the price is {r.choice([number(r), big_number(r)])}",
    lambda r: f"{number(r)} point {digit_string(r, r.randint(1, 2))} percent",
    lambda r: f"{date(r)} two thousand and {number(r, 1, 40)}",
    lambda r: f"{r.choice(['cancel', 'confirm', 'remember'])} the {r.choice(EVENTS)} {when(r)}",
    lambda r: f"the {r.choice(PLACES)} is {r.choice(['open', 'closed'])} {when(r)}",
    lambda r: f"the {r.choice(THINGS)} is for {r.choice(NAMES)}",
    lambda r: f"{r.choice(THINGS)} from {r.choice(NAMES)} {when(r)}",
    lambda r: (
        f"{r.choice(COLORS)} {r.choice([*THINGS, *PLACES])} and {r.choice(COLORS)} {r.choice(THINGS)}"
    ),
    lambda r: f"please call the {r.choice([*PLACES, 'doctor'])} {when(r)}",
    lambda r: f"my telephone number is {digit_string(r, r.randint(4, 8))}",
    lambda r: f"meeting {r.choice(NAMES)} at the {r.choice(PLACES)} early {when(r)}",
    lambda r: f"{r.choice(GREETINGS)} {r.choice(NAMES)}",
    lambda r: f"{r.choice(GREETINGS)} {r.choice(NAMES)} {when(r)}",
    lambda r: f"is the {r.choice(PLACES)} {r.choice(['open', 'closed'])} {when(r)}",
    lambda r: f"is the {r.choice(EVENTS)} with {r.choice(NAMES)} {when(r)}",
)


def phrase(rng: random.Random) -> str:
    """Draw one phrase of the calling and meeting grammar."""
    return rng.choice(PHRASES)(rng)


def number_mix(rng: random.Random) -> str:
    """Draw one to four numbers, ordinals, months or weekdays in a row."""
    parts: Sequence[Phrase] = (
        number,
        number,
        big_number,
        ordinal,
        time_of_day,
        lambda r: r.choice(MONTHS),
        lambda r: r.choice(DAYS),
    )
    return " ".join(rng.choice(parts)(rng) for _ in range(rng.randint(1, 4)))


def word_string(rng: random.Random, count: int) -> str:
    """Draw `count` words without grammar, sometimes the same word twice in a row."""
    words: list[str] = []
    while len(words) < count:
        words += [rng.choice(FREE_WORDS)] * (2 if rng.random() < 0.06 else 1)
    return " ".join(words[:count])


def utterance(rng: random.Random) -> str:
    """Draw one training text of one to about fifteen words."""
    kind = rng.random()
    if kind < 0.27:
        return digit_string(rng, rng.randint(1, 10))
    if kind < 0.55:
        return phrase(rng)
    if kind < 0.70:
        return number_mix(rng)
    if kind < 0.76:
        return rng.choice(FREE_WORDS)
    return word_string(rng, rng.randint(2, 10))


def training_text(rng: random.Random) -> str:
    """Draw a text for the corpus: an utterance, or a single word.

    Digits are the most frequent single words, so a single word is a digit three times out of four.
    """
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(DIGITS)
    if kind < 0.20:
        return rng.choice(FREE_WORDS)
    return utterance(rng)


def _short_word_string(rng: random.Random) -> str:
    return word_string(rng, rng.randint(1, 5))


def exact_utterance(rng: random.Random, word_count: int) -> str:
    """Draw a text of exactly `word_count` words, phrases first, digits to fill the rest.

    Raises ValueError if word_count is below 1.
    """
    if word_count < 1:
        raise ValueError(f"word_count is {word_count}; use at least 1")
    words: list[str] = []
    for _ in range(20):
        part = rng.choice([phrase, number_mix, _short_word_string])(rng)
        if len(words) + len(part.split()) <= word_count:
            words += part.split()
    missing = word_count - len(words)
    return " ".join(words + (digit_string(rng, missing).split() if missing else []))
