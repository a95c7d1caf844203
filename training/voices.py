"""The voices of the training data and the voices held out for evaluation."""

from __future__ import annotations

import hashlib
import random
import sys

from training.espeak import Espeak, EspeakVoiceError, variant_names

TRAINED_BASES = {
    "gmw/en": 4.0,
    "gmw/en-US": 7.0,
    "en-gb-x-rp": 3.0,
    "en-gb-x-gbclan": 2.0,
    "en-029": 1.5,
}
HELD_OUT_BASES = ("en-gb-scotland", "en-us-nyc", "en-gb-x-gbcwmd")
HELD_OUT_VARIANTS = ("f5", "m4", "m8")
TRAINED_FLITE = ("awb", "rms")
HELD_OUT_FLITE = ("kal16", "slt")
HELD_OUT_FESTIVAL = ("voice_kal_diphone", "voice_cmu_us_slt_arctic_hts")

# Excluded: whispers, robots and effects do not occur in real recordings.
_EFFECTS = ("whisper", "robosoft", "robot", "demonic", "unirobot", "croak", "fast", "mr serious")


def trained_variants() -> list[str]:
    """List espeak-ng's variants for training; "" is the plain voice."""
    usable = [
        name
        for name in variant_names()
        if name not in HELD_OUT_VARIANTS and not any(effect in name.lower() for effect in _EFFECTS)
    ]
    return ["", *usable]


def join_voice(base: str, variant: str) -> str:
    """Return espeak-ng's name of a voice with a base and a variant."""
    return f"{base}+{variant}" if variant else base


def draw_trained_voice(rng: random.Random, variants: list[str]) -> str:
    """Draw a base by weight and any of the variants (f1..m7 three times as often as the others)."""
    base = rng.choices(list(TRAINED_BASES), list(TRAINED_BASES.values()))[0]
    weights = [3.0 if len(name) <= 2 else 1.0 for name in variants]
    return join_voice(base, rng.choices(variants, weights)[0])


def held_out_espeak_voices() -> list[str]:
    """List the espeak-ng voices for evaluation: a held-out accent, a held-out variant or both."""
    accents = [join_voice(base, v) for base in HELD_OUT_BASES for v in ("", *HELD_OUT_VARIANTS)]
    variants = [join_voice(base, v) for base in TRAINED_BASES for v in HELD_OUT_VARIANTS]
    return accents + variants


def find_shared_waves(text: str = "call Anna on Monday at seven thirty") -> dict[str, list[str]]:
    """Find held-out voices whose wave equals a trained one: held-out name -> trained names."""
    espeak = Espeak()
    trained: dict[str, list[str]] = {}
    for base in TRAINED_BASES:
        for variant in trained_variants():
            try:
                samples = espeak.speak(text, voice=join_voice(base, variant)).samples
            except EspeakVoiceError:
                continue
            digest = hashlib.sha256(samples.tobytes()).hexdigest()
            trained.setdefault(digest, []).append(join_voice(base, variant))
    shared = {}
    for voice in held_out_espeak_voices():
        samples = espeak.speak(text, voice=voice).samples
        digest = hashlib.sha256(samples.tobytes()).hexdigest()
        if digest in trained:
            shared[voice] = trained[digest]
    return shared


if __name__ == "__main__":
    found = find_shared_waves()
    print(
        f"{len(held_out_espeak_voices())} held-out espeak voices, {len(found)} equal a trained one"
    )
    for voice, names in found.items():
        print(voice, "=", *names)
    sys.exit(bool(found))
