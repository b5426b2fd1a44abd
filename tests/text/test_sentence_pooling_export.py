"""Compiled, exported, and as one ONNX file: the same numbers, for batches and lengths that nobody saw before."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn import functional as F

import polypool as pp
from polypool.text import SentencePooling, export_onnx
from polypool.text.config import MODES
from tests.support import close, normal
from tests.text import tiny
from tests.text.features import CHANNELS, SIX, flattened, padded, theirs, vectors

OTHERS = [name for name in pp.names("tokens") if name not in MODES.values()]
OTHER = padded(
    (torch.arange(9) < torch.tensor([[9], [4], [1]])).long(), normal(3, 9, CHANNELS, dtype=torch.float32)
)


class Program(nn.Module):
    """Features in, a tensor out."""

    def __init__(self, pooling: Any) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, features: dict[str, Any]) -> Tensor:
        return vectors(self.pooling, features)


def compiled(mode: Any, include_prompt: bool, backend: str = "aot_eager") -> None:
    torch._dynamo.reset()
    pooling = SentencePooling(CHANNELS, mode, include_prompt)
    program = torch.compile(Program(pooling), fullgraph=True, backend=backend, dynamic=True)
    more: dict[str, Any] = {} if include_prompt else {"prompt_length": 1}
    for features in (padded(**more), {**OTHER, **more}, flattened(**more)):
        close(program(features), vectors(pooling, features))


def exported(mode: Any, include_prompt: bool) -> None:
    pooling = SentencePooling(CHANNELS, mode, include_prompt)
    more: dict[str, Any] = {} if include_prompt else {"prompt_length": torch.tensor([1])}
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    dynamic = {"token_embeddings": sizes, "attention_mask": sizes} | dict.fromkeys(more)
    program = torch.export.export(Program(pooling), (padded(**more),), dynamic_shapes=(dynamic,)).module()
    for features in (padded(**more), {**OTHER, **{key: value + 1 for key, value in more.items()}}):
        close(program(features), vectors(pooling, features))


#: The plainest, and the one that needs places: the rest takes a second or two each.
QUICK = ("mean", "weightedmean")


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize(
    "mode", [mode if mode in QUICK else pytest.param(mode, marks=pytest.mark.slow) for mode in SIX]
)
def test_compiled_in_one_graph(mode: str, include_prompt: bool) -> None:
    compiled(mode, include_prompt, backend="eager")


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", [*SIX, ("cls", "weightedmean")], ids=str)
def test_exported_for_any_batch_and_length(mode: Any, include_prompt: bool) -> None:
    exported(mode, include_prompt)


@pytest.mark.slow
@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_every_operator(name: str, include_prompt: bool) -> None:
    compiled(name, include_prompt)
    exported(name, include_prompt)


@pytest.mark.slow
@pytest.mark.parametrize("mode", SIX)
def test_the_default_compiler(mode: str) -> None:
    compiled(mode, include_prompt=False, backend="inductor")


def test_theirs_breaks_the_graph_without_the_prompt() -> None:
    """What a graph without breaks is worth: with a tensor as the length, theirs has none."""
    features = padded(prompt_length=torch.tensor([1]))
    torch._dynamo.reset()
    with pytest.raises(GuardOnDataDependentSymNode):
        torch.compile(Program(theirs("mean", False)), fullgraph=True, backend="eager")(features)
    pooling = SentencePooling(CHANNELS, "mean", False)
    program = torch.compile(Program(pooling), fullgraph=True, backend="eager")
    close(program(features), vectors(pooling, features))


class Encoder(nn.Module):
    """Encoder, pooling and normalisation, from features to features."""

    def __init__(self, pooling: SentencePooling) -> None:
        super().__init__()
        self.tokenizer = tiny.tokenizer()
        self.model = tiny.bert(len(self.tokenizer))
        self.pooling = pooling

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        taken = {name: value for name, value in features.items() if name != "prompt_length"}
        found = self.pooling(features | {"token_embeddings": self.model(**taken).last_hidden_state})
        return found | {"sentence_embedding": F.normalize(found["sentence_embedding"], dim=-1)}


def run(path: Path, features: dict[str, Any]) -> Tensor:
    """What onnxruntime makes of the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {value.name: features[value.name].numpy() for value in session.get_inputs()}
    return torch.from_numpy(session.run(["sentence_embedding"], given)[0])


def one_file(model: nn.Module, path: Path, prompt_length: int | None = None, inputs: Any = None) -> None:
    """Exports, and compares on batches of other sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and onnxscript, about themselves
        export_onnx(model, path, prompt_length=prompt_length, inputs=inputs)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    words = tiny.tokenizer()
    more = {} if prompt_length is None else {"prompt_length": prompt_length}
    for texts in (list(tiny.TEXTS), ["The cat sleeps."], ["bread", "the dog runs on the bank", "star"]):
        features = dict(words(texts, padding=True, truncation=True, return_tensors="pt"))
        with torch.no_grad():
            expected = model({**features, **more})["sentence_embedding"]
        close(run(path, features), expected)


@pytest.mark.slow
def test_one_onnx_file(tmp_path: Path) -> None:
    one_file(Encoder(SentencePooling(tiny.HIDDEN, "mean")).eval(), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*SIX, *OTHERS])
def test_every_pooling_as_an_onnx_file(mode: str, tmp_path: Path) -> None:
    one_file(Encoder(SentencePooling(tiny.HIDDEN, mode)).eval(), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("mode", SIX)
def test_a_prompt_of_fixed_length_as_an_onnx_file(mode: str, tmp_path: Path) -> None:
    model = Encoder(SentencePooling(tiny.HIDDEN, mode, include_prompt=False)).train()
    model.model.eval()  # dropout is no matter of pooling
    one_file(model, tmp_path / "model.onnx", prompt_length=2)
    assert model.training


@pytest.mark.slow
def test_a_model_of_sentence_transformers_as_an_onnx_file(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer

    folder = tiny.plain_folder(tmp_path / "encoder")
    pooling = SentencePooling(tiny.HIDDEN, "max")
    model = SentenceTransformer(modules=[Transformer(str(folder)), pooling, Normalize()], device="cpu")
    (tmp_path / "file").mkdir()
    one_file(model, tmp_path / "file" / "model.onnx")


@pytest.mark.slow
def test_a_text_encoder_as_an_onnx_file(tmp_path: Path) -> None:
    from polypool.text import TextEncoder

    encoder = TextEncoder.load(tiny.plain_folder(tmp_path / "encoder"), pool="mean+max", device="cpu")
    (tmp_path / "file").mkdir()
    one_file(encoder, tmp_path / "file" / "model.onnx")


def test_padding_is_not_read_in_the_file_either(tmp_path: Path) -> None:
    """Token states in, so that NaN can be in the padding."""

    class Words(nn.Module):
        """A table in place of an encoder: the padding token has a vector of NaN."""

        def __init__(self) -> None:
            super().__init__()
            self.pooling = SentencePooling(2, "max")
            self.register_buffer("table", torch.tensor([[float("nan")] * 2, [1.0, -2.0], [3.0, -4.0]]))

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            states = F.embedding(features["input_ids"], self.table)  # type: ignore[arg-type]
            return self.pooling(features | {"token_embeddings": states})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_onnx(Words(), tmp_path / "model.onnx")
    ids = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    found = run(tmp_path / "model.onnx", {"input_ids": ids, "attention_mask": (ids > 0).long()})
    close(found, torch.tensor([[3.0, -2.0], [1.0, -2.0], [0.0, 0.0]]))


def test_inputs_that_cannot_be(tmp_path: Path) -> None:
    for inputs in (["pixels"], []):
        with pytest.raises(ValueError, match="inputs must be among"):
            export_onnx(Program(None), tmp_path / "model.onnx", inputs=inputs)
    assert not list(tmp_path.iterdir())
