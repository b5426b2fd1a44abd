"""What comes after the pooling, in sentence-transformers' folder format."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from polypool.text import Dense, LayerNorm, ModelFolderError, Normalize
from polypool.text.dense import ACTIVATIONS
from polypool.text.modules import AfterPooling
from tests.support import close, identical, normal

VECTORS = normal(5, 6, dtype=torch.float32)


def dense(activation: str = "identity", bias: bool = True, residual: bool | torch.Tensor = False) -> Dense:
    weight = normal(6 if residual is True else 4, 6, seed=1, dtype=torch.float32)
    offset = normal(len(weight), seed=2, dtype=torch.float32) if bias else None
    return Dense(weight, offset, activation, residual=residual)


def norm() -> LayerNorm:
    made = LayerNorm(6)
    with torch.no_grad():
        made.norm.weight.copy_(normal(6, seed=3, dtype=torch.float32))
        made.norm.bias.copy_(normal(6, seed=4, dtype=torch.float32))
    return made


MODULES: dict[str, Callable[[], AfterPooling]] = {
    **{f"dense-{name}": partial(dense, name) for name in sorted(ACTIVATIONS)},
    "dense-without-bias": lambda: dense(bias=False),
    "dense-adds-input": lambda: dense("tanh", residual=True),
    "dense-residual": lambda: dense("tanh", residual=normal(4, 6, seed=5, dtype=torch.float32)),
    "norm": norm,
    "normalize": Normalize,
}


@pytest.mark.parametrize("name", MODULES)
def test_it_comes_back_from_its_folder(name: str, tmp_path: Path) -> None:
    made: AfterPooling = MODULES[name]()
    made.save(tmp_path / "2")
    again = type(made).load(tmp_path / "2")
    identical(again(VECTORS), made(VECTORS), "result")
    assert again.out_channels(6) == made(VECTORS).shape[1]


@pytest.mark.parametrize("name", MODULES)
def test_sentence_transformers_reads_it_and_writes_it(name: str, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules as theirs

    made: AfterPooling = MODULES[name]()
    made.save(tmp_path / "ours")
    their = getattr(theirs, type(made).__name__).load(str(tmp_path / "ours"))
    close(their({"sentence_embedding": VECTORS})["sentence_embedding"], made(VECTORS))
    (tmp_path / "theirs").mkdir()
    their.save(str(tmp_path / "theirs"))
    identical(type(made).load(tmp_path / "theirs")(VECTORS), made(VECTORS), "result")


def test_what_it_computes() -> None:
    made = dense("relu")
    assert made.bias is not None
    close(made(VECTORS), (VECTORS @ made.weight.T + made.bias).clamp(min=0))
    skips = dense("tanh", bias=False, residual=True)
    close(skips(VECTORS), VECTORS + torch.tanh(VECTORS @ skips.weight.T))
    lengths = Normalize()(torch.cat([VECTORS, torch.zeros(1, 6)])).norm(dim=1)
    close(lengths, torch.tensor([1.0] * 5 + [0.0]))


def test_it_keeps_its_own_weights() -> None:
    """What was passed is copied: changing it later changes nothing."""
    weight = torch.eye(6)
    made = Dense(weight)
    weight.zero_()
    identical(made(VECTORS), VECTORS, "result")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (torch.eye(2, dtype=torch.int64),),
            TypeError,
            "weight must be a floating tensor; found torch.int64",
        ),
        (([[1.0]],), TypeError, "weight must be a floating tensor; found list"),
        ((torch.ones(2),), ValueError, r"weight must have shape \(out, in\); found \(2,\)"),
        ((torch.ones(2, 3), torch.ones(3)), ValueError, r"bias must have shape \(2\); found \(3,\)"),
        (
            (torch.ones(2, 3), None, "swish"),
            ValueError,
            "activation must be one of elu, gelu, .*; found 'swish'",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Dense(*arguments)


def test_a_residual_that_does_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"residual must be a tensor \(2, 3\) where the sizes differ; found True"
    ):
        Dense(torch.ones(2, 3), residual=True)
    with pytest.raises(ValueError, match=r"residual must have shape \(2, 3\); found \(3, 2\)"):
        Dense(torch.ones(2, 3), residual=torch.ones(3, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"activation_function": "os.system"},
            "activation_function in .* must be one of torch.nn.ELU, .*'os.system'",
        ),
        ({"activation_function": "torch.load"}, "must be one of"),
        ({"in_features": "6"}, "in_features in .* must be an integer of at least 1; found '6'"),
        ({"out_features": 0}, "out_features in .* must be an integer of at least 1; found 0"),
        ({"out_features": 5}, r"must hold .*linear.weight \(5, 6\); found .*linear.weight \(4, 6\)"),
        ({"bias": False}, r"must hold linear.weight \(4, 6\); found linear.bias \(4,\), linear.weight"),
        ({"module_input_name": "token_embeddings"}, "module_input_name in .* must be 'sentence_embedding'"),
        ({"dropout": 0.5}, "has settings that are not known here: dropout"),
        ({"use_residual": True}, "residual.weight"),
    ],
)
def test_a_folder_that_does_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    dense("tanh").save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelFolderError, match=message) as caught:
        Dense.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    dense().save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin, a pickle, which can run any code"):
        Dense.load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelFolderError, match=r"must hold its weights in model\.safetensors; there is none"):
        Dense.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
        Dense.load(tmp_path)


def test_a_missing_activation_is_their_default(tmp_path: Path) -> None:
    dense("relu").save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["activation_function"]
    path.write_text(json.dumps(config))
    assert Dense.load(tmp_path).activation == "tanh"


def test_the_folder_of_a_normalisation_may_be_empty_or_missing(tmp_path: Path) -> None:
    assert isinstance(Normalize.load(tmp_path), nn.Module)
    assert isinstance(Normalize.load(tmp_path / "gone"), nn.Module)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    made = dense().to(torch.bfloat16)
    made.save(tmp_path)
    again = Dense.load(tmp_path)
    assert again.weight.dtype is torch.float32
    identical(again.weight, made.weight.float(), "result")
