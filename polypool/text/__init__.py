"""What only text has: encoders with their tokenizer, folders of sentence-transformers, spans, long documents."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polypool.corpus.reading import open_embeddings
    from polypool.text.after import remove_common, truncation, whitening
    from polypool.text.config import ModelFolderError, PoolingConfig
    from polypool.text.cuts import chunk_spans, sentence_spans, word_spans
    from polypool.text.dense import Dense
    from polypool.text.doctor import examine
    from polypool.text.encoder import TextEncoder
    from polypool.text.functions import mean_pool, pool
    from polypool.text.late import chunk_embeddings
    from polypool.text.layers import LayerMix, mix_layers
    from polypool.text.modules import Dropout, LayerNorm, Normalize
    from polypool.text.moments import Moments, fit_moments
    from polypool.text.onnx import export_onnx
    from polypool.text.report import Report
    from polypool.text.sentence_pooling import SentencePooling
    from polypool.text.sif import TokenCounts, count_tokens
    from polypool.text.spans import (
        SpanVectors,
        char_spans_to_token_spans,
        content_mask,
        pool_spans,
        word_ids_to_token_spans,
    )

# Where each name lives. It is imported on first use: who wants `mean_pool` does not wait for transformers.
_HOMES = {
    "Dense": "dense",
    "Dropout": "modules",
    "LayerMix": "layers",
    "LayerNorm": "modules",
    "ModelFolderError": "config",
    "Moments": "moments",
    "Normalize": "modules",
    "PoolingConfig": "config",
    "Report": "report",
    "SentencePooling": "sentence_pooling",
    "SpanVectors": "spans",
    "TextEncoder": "encoder",
    "TokenCounts": "sif",
    "char_spans_to_token_spans": "spans",
    "chunk_embeddings": "late",
    "chunk_spans": "cuts",
    "content_mask": "spans",
    "count_tokens": "sif",
    "examine": "doctor",
    "export_onnx": "onnx",
    "fit_moments": "moments",
    "mean_pool": "functions",
    "mix_layers": "layers",
    "pool": "functions",
    "pool_spans": "spans",
    "remove_common": "after",
    "sentence_spans": "cuts",
    "truncation": "after",
    "whitening": "after",
    "word_ids_to_token_spans": "spans",
    "word_spans": "cuts",
}

__all__ = [
    "Dense",
    "Dropout",
    "LayerMix",
    "LayerNorm",
    "ModelFolderError",
    "Moments",
    "Normalize",
    "PoolingConfig",
    "Report",
    "SentencePooling",
    "SpanVectors",
    "TextEncoder",
    "TokenCounts",
    "char_spans_to_token_spans",
    "chunk_embeddings",
    "chunk_spans",
    "content_mask",
    "count_tokens",
    "examine",
    "export_onnx",
    "fit_moments",
    "mean_pool",
    "mix_layers",
    "open_embeddings",
    "pool",
    "pool_spans",
    "remove_common",
    "sentence_spans",
    "truncation",
    "whitening",
    "word_ids_to_token_spans",
    "word_spans",
]


def __getattr__(name: str) -> object:
    if name == "open_embeddings":  # of the corpus job; here because it is text that most people embed
        return import_module("polypool.corpus").open_embeddings
    if name in _HOMES:
        return getattr(import_module(f"polypool.text.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'polypool.text' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
