"""The token ids that training needs, read from tokenizer.json without loading transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.grammar import WORDS


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of the tokens that prompts and labels are made of; each word is one or more tokens."""

    end: int
    start: int
    english: int
    transcribe: int
    no_timestamps: int
    previous: int
    no_speech: int
    timestamp_zero: int
    count: int
    words: dict[str, list[int]]

    @classmethod
    def read(cls, folder: Path) -> TokenIds:
        """Read tokenizer.json.

        Raises KeyError if a word of the grammar is not one token: the tokenizer is stale.
        """
        content = json.loads((folder / "tokenizer.json").read_text())
        added = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
        vocabulary = content["model"]["vocab"]
        return cls(
            end=added["<|endoftext|>"],
            start=added["<|startoftranscript|>"],
            english=added["<|en|>"],
            transcribe=added["<|transcribe|>"],
            no_timestamps=added["<|notimestamps|>"],
            previous=added["<|startofprev|>"],
            no_speech=added["<|nospeech|>"],
            timestamp_zero=added["<|0.00|>"],
            count=max(added.values()) + 1,
            words={word: [vocabulary["Ġ" + word]] for word in WORDS},
        )
