"""A sentence encoder small enough for a test: two layers, random weights, a vocabulary made by hand."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch

WORDS = (
    "a", "the", "cat", "dog", "bank", "river", "train", "water", "bread", "star", "sleeps", "runs", "burst",
    "leaves", "boils", "shines", "on", "in", "of", "and", "query", "passage", "old", "new", ":", ".", ",", "?", "!",
)  # fmt: skip
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
HIDDEN = 16
LONGEST = 32

TEXTS = (
    "The cat sleeps.",
    "A dog runs in the river, and the train leaves.",
    "Water boils",
    "bread",
    "An old star shines on the new bank of the river. The water runs, and the dog sleeps.",
    "",
    "Unbelievable: 3 cats!",
)


def tokenizer(longest: int = LONGEST, framed: bool = True, side: str = "right") -> Any:
    """A WordPiece tokenizer that writes out every word it does not know; without a frame no special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    signs = string.ascii_lowercase + string.digits
    known = list(dict.fromkeys((*SPECIAL, *WORDS, *signs, *(f"##{sign}" for sign in signs))))
    vocabulary = {token: place for place, token in enumerate(known)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if framed:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        model_max_length=longest,
        padding_side=side,
    )


def bert(vocabulary: int, hidden: int = HIDDEN, layers: int = 2, longest: int = LONGEST) -> Any:
    """A BERT of random weights, the same every time; the global generator is left as it was."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=longest,
        # Ten times the usual, so that different texts have vectors that differ.
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertModel(config).eval()


def plain_folder(folder: Path, **settings: Any) -> Path:
    """A transformers folder that says nothing about pooling: config, weights, tokenizer."""
    words = tokenizer(**settings)
    bert(len(words), longest=settings.get("longest", LONGEST)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
