"""Whisper's languages by code, with their English names and aliases."""

from __future__ import annotations

import difflib

_NAMES = """
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt
portuguese, tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id
indonesian, hi hindi, fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs
czech, ro romanian, da danish, hu hungarian, ta tamil, no norwegian, th thai, ur urdu, hr
croatian, bg bulgarian, lt lithuanian, la latin, mi maori, ml malayalam, cy welsh, sk slovak, te
telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani, sl slovenian, kn kannada,
et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian, ne nepali, mn
mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa punjabi, si
sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian, be
belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo
faroese, ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb
luxembourgish, my myanmar, bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw
hawaiian, ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese, yue cantonese
"""
_OTHER_NAMES = """
my burmese, ca valencian, nl flemish, ht haitian, lb letzeburgesch, ps pushto, pa panjabi,
ro moldavian, ro moldovan, si sinhalese, es castilian, zh mandarin
"""  # as in openai/whisper's TO_LANGUAGE_CODE


def _pairs(table: str) -> list[tuple[str, str]]:
    entries = (entry.split(maxsplit=1) for entry in table.split(","))
    return [(code, name.strip()) for code, name in entries]


LANGUAGES = dict(_pairs(_NAMES))  # 100 codes with their English names
_CODE_OF = {name: code for code, name in _pairs(_OTHER_NAMES) + _pairs(_NAMES)}


def language_code(text: str) -> str:
    """Return Whisper's code of a language given by code or English name, case-insensitive.

    Raises ValueError with the nearest spelling.
    """
    name = " ".join(text.lower().split())
    if name in LANGUAGES:
        return name
    if name in _CODE_OF:
        return _CODE_OF[name]
    similar = difflib.get_close_matches(name, _CODE_OF, n=1)
    hint = f"; did you mean {similar[0]} ({_CODE_OF[similar[0]]})?" if similar else ""
    raise ValueError(
        f"allowed: auto, a code such as en or fr, or an English name such as french{hint}"
    )
