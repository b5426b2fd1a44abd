"""The same sentences through sentence-transformers, where it is installed and does the same thing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polypool.demo.encoder import stay_offline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

ORDINARY = {"Transformer", "Pooling", "Normalize"}


def why_not_comparable(folder: Path) -> str:
    """Why this folder's own vectors are not a normalised mean of tokens; empty where they are."""
    modules = _read(folder / "modules.json", [])
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    if extra := [kind for kind in kinds if kind not in ORDINARY]:
        return f"This model has further modules ({', '.join(extra)})"
    config = _read(folder / "1_Pooling" / "config.json", {})
    modes = config.get("pooling_mode")
    if modes is None:
        # the older form: one boolean for each mode, and mean where nothing is said
        modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on] or "mean"
    if modes not in ("mean", ["mean"], ["pooling_mode_mean_tokens"]):
        return f"This model declares its pooling as {modes}, not mean"
    return ""


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else otherwise


def embeddings(folder: Path, sentences: Sequence[str]) -> Tensor | None:
    """What sentence-transformers makes of the sentences, normalised; None where it is not installed."""
    stay_offline()
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode(
        list(sentences),
        batch_size=len(sentences),
        convert_to_tensor=True,
        normalize_embeddings=True,
        show_progress_bar=False,
    )
