"""The token IDs for training, read from tokenizer.json without loading transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.grammar import QUESTION, SPELLINGS, STOP, sentence


@dataclass(frozen=True, slots=True)
class TokenIds:
    """IDs of the tokens used in prompts and labels; each spelling is one token."""

    end: int
    start: int
    english: int
    transcribe: int
    no_timestamps: int
    previous: int
    no_speech: int
    timestamp_zero: int
    count: int
    spellings: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> TokenIds:
        """Read tokenizer.json.

        Raises KeyError if a spelling of the grammar is not one token (outdated tokenizer).
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
            spellings={word: vocabulary["Ġ" + word] for word in SPELLINGS}
            | {mark: vocabulary[mark] for mark in (STOP, QUESTION)},
        )

    def spell(self, text: str) -> list[list[int]]:
        """Return the token IDs of each word of a text's sentence; the last word includes the mark."""
        written = sentence(text)
        ids = [[self.spellings[word]] for word in written[:-1].split()]
        ids[-1].append(self.spellings[written[-1]])
        return ids
