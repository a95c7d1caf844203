"""A byte-level BPE of the grammar's words with Whisper's special tokens in Whisper's order."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from training.grammar import SPELLINGS, sentence, utterance

END_OF_TEXT = "<|endoftext|>"
TASK_TOKENS = (
    "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
    "<|notimestamps|>",
)  # fmt: skip
N_TIMESTAMPS = 1501  # 0.00 .. 30.00 in steps of 0.02 s


def build_tokenizer(seed: int = 0) -> WhisperTokenizer:
    """Train the BPE until each spelling of the grammar is one token, then add the special tokens.

    They are added as extra_special_tokens with <|notimestamps|> last, because transformers assumes
    that the first timestamp is all_special_ids[-1] + 1.
    """
    rng = random.Random(seed)
    texts = [" " + sentence(utterance(rng)) for _ in range(3000)]
    texts += [f" {word}" for word in SPELLINGS] * 20
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    model = json.loads(bpe.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    vocabulary = {**model["vocab"], END_OF_TEXT: len(model["vocab"])}
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=merges, pad_token=END_OF_TEXT, model_max_length=1 << 30
    )
    languages = [f"<|{code}|>" for code in LANGUAGES]
    specials = [END_OF_TEXT, "<|startoftranscript|>", *languages, *TASK_TOKENS]
    tokenizer.add_special_tokens(
        {
            "extra_special_tokens": [
                AddedToken(name, special=True, normalized=False) for name in specials
            ]
        }
    )
    tokenizer.add_tokens(
        [
            AddedToken(f"<|{step * 0.02:.2f}|>", special=False, normalized=False)
            for step in range(N_TIMESTAMPS)
        ]
    )
    return tokenizer


def save_processor(tokenizer: WhisperTokenizer, folder: Path) -> None:
    """Write tokenizer and feature extractor, with vocab.json and merges.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    extractor = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def main() -> None:
    """Build the tokenizer and write it with the feature extractor to a folder."""
    folder = Path(sys.argv[1])
    tokenizer = build_tokenizer()
    save_processor(tokenizer, folder)
    print(f"{folder}: {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
