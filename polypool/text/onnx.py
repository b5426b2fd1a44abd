"""Encoder, pooling and what follows as one ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

#: What a tokenizer can give that an encoder of text takes, in the order in which files have it.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "sentence_embedding"
#: A file of protocol buffers holds 2 GiB; larger weights go in a second file.
_LARGEST = 2 << 30


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    prompt_length: int | None = None,
) -> None:
    """Writes a sentence encoder as an ONNX file: token ids in, sentence vectors out, any batch and length.

    Every registered pooling can be exported, and padding is not read in the file either. One thing differs: what an
    order statistic (median, quantile, trimmed, top_k) makes of a NaN in a real token is up to what runs the file.

    Args:
        model: A `TextEncoder`, a `SentenceTransformer`, or any module from features to features with
            `sentence_embedding`. It is exported as for inference, and left as it was.
        path: The file to write. Weights of more than 2 GiB go in a second file beside it.
        inputs: Names among `input_ids`, `attention_mask`, `token_type_ids`; those that the model's tokenizer gives when
            None, or the first two.
        prompt_length: Baked in, for a pooling that leaves a prompt of this many tokens out.

    Raises:
        ImportError: onnx or onnxscript is missing.
        ValueError: An input has another name, or the export would hold for one batch size or length only.

    Example:
        >>> from polypool.text import TextEncoder, export_onnx
        >>> encoder = TextEncoder.load("my-model")  # doctest: +SKIP
        >>> export_onnx(encoder, "my-model/onnx/model.onnx")  # doctest: +SKIP
    """
    _require_onnx()
    names = _inputs(model, inputs)
    program = _Program(model, names, prompt_length)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # Two rows of unlike length: sizes that no other size could be taken for.
    ids = torch.ones((2, 7), dtype=torch.int64, device=device)
    mask = ids.clone()
    mask[1, 5:] = 0
    example = tuple(
        {"attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}.get(name, ids) for name in names
    )
    modes = [(module, module.training) for module in model.modules()]
    try:
        program.eval()
        made: Any = torch.onnx.export(
            program,
            example,
            input_names=list(names),
            output_names=[OUTPUT],
            dynamic_shapes=_dynamic(names),
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.sort.stable: _sort},
        )
    finally:
        for module, training in modes:
            module.training = training
    fixed = [
        value.name
        for value in made.model.graph.inputs
        if any(isinstance(size, int) for size in value.shape or ())
    ]
    if fixed:
        raise ValueError(
            f"the export holds for one size of {', '.join(fixed)} only: some module turns a size into a number."
        )
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    made.save(str(path), external_data=size >= _LARGEST)


class _Program(nn.Module):
    """Tensors in, a tensor out, around a module of features."""

    def __init__(self, model: nn.Module, names: Sequence[str], prompt_length: int | None) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.fixed: Mapping[str, int] = {} if prompt_length is None else {"prompt_length": prompt_length}

    def forward(self, *tensors: Tensor) -> Tensor:
        features: dict[str, Any] = dict(zip(self.names, tensors, strict=True)) | dict(self.fixed)
        found: Tensor = self.model(features)[OUTPUT]
        return found


def _sort(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """`torch.sort(stable=True)`, which torch does not translate: order statistics rank with it.

    ONNX' TopK over all places is a sort, and of equal values takes the lower index first.
    """
    from onnxscript import opset18

    op: Any = opset18

    axis = dim % len(values.shape)
    places = op.Slice(op.Shape(values), op.Constant(value_ints=[axis]), op.Constant(value_ints=[axis + 1]))
    return op.TopK(values, places, axis=axis, largest=int(descending), sorted=1)


def _require_onnx() -> None:
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise ImportError(
                f"export_onnx needs {package}, which is not installed; pip install onnx onnxscript."
            )


def _dynamic(names: Sequence[str]) -> Any:
    """Batch and length of every input; `forward` takes them as `*tensors`, one argument."""
    return (tuple({0: "batch", 1: "length"} for _ in names),)


def _inputs(model: nn.Module, inputs: Sequence[str] | None) -> tuple[str, ...]:
    if inputs is None:
        given = getattr(getattr(model, "tokenizer", None), "model_input_names", None) or INPUTS[:2]
        return tuple(name for name in INPUTS if name in given)
    unknown = [name for name in inputs if name not in INPUTS]
    if unknown or not inputs:
        raise ValueError(f"inputs must be among {', '.join(INPUTS)}; found {', '.join(unknown) or 'none'}.")
    return tuple(inputs)
