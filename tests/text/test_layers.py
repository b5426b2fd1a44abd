"""Layers mixed as a running sum: the numbers of `WeightedLayerPooling`, with the memory of one layer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from polypool.text import LayerMix, mix_layers
from polypool.text.config import ModelFolderError
from tests.support import close, normal
from tests.text import tiny
from tests.text.features import same

HIDDEN = 5
STATES = tuple(normal(3, 4, 6, seed=layer, dtype=torch.float32) for layer in range(HIDDEN + 1))


def theirs(start: int = 4, weights: Tensor | None = None) -> Any:
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    parameter = None if weights is None else nn.Parameter(weights.clone())
    return WeightedLayerPooling(6, HIDDEN, start, parameter)


def mixed(module: Any, states: tuple[Tensor, ...] = STATES) -> Tensor:
    found: Tensor = module({"all_layer_embeddings": states})["token_embeddings"]
    return found


@pytest.mark.parametrize("start", [0, 2, 5])
def test_the_same_as_theirs(start: int) -> None:
    weights = normal(HIDDEN + 1 - start, seed=9, dtype=torch.float32).abs() + 0.1
    ours, other = LayerMix(6, HIDDEN, start, weights), theirs(start, weights)
    copies = [tuple(state.clone().requires_grad_() for state in STATES) for _ in range(2)]
    found, expected = mixed(ours, copies[0]), mixed(other, copies[1])
    close(found, expected)
    for each in (found, expected):
        each.square().sum().backward()
    assert isinstance(ours.layer_weights.grad, Tensor)
    close(ours.layer_weights.grad, other.layer_weights.grad)
    for one, two in zip(copies[0][start:], copies[1][start:], strict=True):
        assert one.grad is not None
        assert two.grad is not None
        close(one.grad, two.grad)


def test_the_defaults_are_theirs() -> None:
    states = tuple(normal(2, 3, 6, seed=layer, dtype=torch.float32) for layer in range(13))
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    close(mixed(LayerMix(6), states), mixed(WeightedLayerPooling(6), states))


@pytest.mark.parametrize(
    ("layers", "expected"), [((0, -1), (0, 5)), (range(-4, 0), (2, 3, 4, 5)), ((3,), (3,))]
)
def test_chosen_layers(layers: Any, expected: tuple[int, ...]) -> None:
    module = LayerMix(6, HIDDEN, layers=layers, learn=False)
    close(mixed(module), torch.stack([STATES[i] for i in expected]).mean(0))
    assert not list(module.parameters())


def test_half_precision_is_summed_wide() -> None:
    ones = tuple(torch.full((1, 1, 1), 0.1, dtype=torch.bfloat16) for _ in range(300))
    found = mix_layers(ones, torch.full((300,), 1 / 300))
    assert found.dtype is torch.bfloat16
    close(found, ones[0])


def test_second_derivatives_and_transforms() -> None:
    weights = normal(3, seed=1).requires_grad_()
    states = tuple(normal(2, 3, seed=layer).requires_grad_() for layer in range(3))
    assert torch.autograd.gradcheck(lambda w, *s: mix_layers(s, w), (weights, *states))
    assert torch.autograd.gradgradcheck(lambda w, *s: mix_layers(s, w), (weights, *states))
    batched = torch.func.vmap(lambda w: mix_layers([s.detach() for s in states], w))(
        weights.detach().expand(4, 3)
    )
    close(batched[2], mix_layers(states, weights).detach())


def test_what_came_in_stays() -> None:
    before = [state.clone() for state in STATES]
    mix_layers(STATES, torch.ones(HIDDEN + 1))
    for state, copy in zip(STATES, before, strict=True):
        same(state, copy)


def test_compiled_and_exported() -> None:
    module = LayerMix(6, HIDDEN, layers=(1, -1))
    compiled = torch.compile(lambda states: mixed(module, states), fullgraph=True, backend="aot_eager")
    close(compiled(STATES), mixed(module))

    class Program(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = module

        def forward(self, *states: Tensor) -> Tensor:
            return mixed(self.mix, states)

    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.export.export(Program(), STATES, dynamic_shapes=((sizes,) * len(STATES),))
    other = tuple(state[:2, :3].contiguous() for state in STATES)
    close(program.module()(*other), mixed(module, other))


LAYER = (16, 64, 64)
BYTES = 16 * 64 * 64 * 4


class Stack(nn.Module):
    """An encoder whose layers keep nothing but their own results for the backward pass."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.scale = nn.Parameter(torch.full(LAYER[-1:], 0.5))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        states = [x * self.scale]
        for _ in range(self.layers):
            states.append(torch.tanh(states[-1]))
        return tuple(states)


def extra(call: Any) -> float:
    """The largest number of bytes that torch held for a call at once, results and all, in layers."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = call()
    sizes = []
    pending = list(profiler.profiler.kineto_results.experimental_event_tree())
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag == _EventType.Allocation:
            sizes.append((event.start_time_ns, event.extra_fields.alloc_size))
    assert kept is not None
    now = most = 0
    for _, size in sorted(sizes):
        now += size
        most = max(most, now)
    return most / BYTES


def test_the_memory_of_the_forward_pass() -> None:
    """Twenty layers take one, their sum; theirs takes 40 and more."""
    states = tuple(torch.ones(LAYER) for _ in range(20))
    weights = torch.ones(20)
    assert extra(lambda: mix_layers(states, weights)) < 1.01
    stacked = theirs(0, weights)
    with torch.no_grad():
        assert extra(lambda: stacked({"all_layer_embeddings": states})) > 40


def test_the_memory_of_the_backward_pass() -> None:
    """One layer with a frozen encoder, and with a trained one a layer more than what its own backward pass takes."""
    layers, x = 16, torch.ones(LAYER)
    weights = torch.ones(layers + 1, requires_grad=True)
    frozen = tuple(state.detach() for state in Stack(layers)(x))
    total = mix_layers(frozen, weights).sum()
    assert extra(lambda: torch.autograd.grad(total, weights)) < 1.01

    stack = Stack(layers)
    alone = stack(x)[-1].sum()
    own = extra(lambda: torch.autograd.grad(alone, stack.scale))
    mix = mix_layers(stack(x), weights).sum()
    assert extra(lambda: torch.autograd.grad(mix, [stack.scale, weights])) < own + 1.01


def test_each_loads_what_the_other_saves(tmp_path: Path) -> None:
    weights = torch.tensor([1.0, 2.0, 4.0])
    folders = tmp_path / "ours", tmp_path / "theirs"
    for folder, module in zip(folders, (LayerMix(6, HIDDEN, 3, weights), theirs(3, weights)), strict=True):
        folder.mkdir()
        module.save(str(folder))
    close(mixed(LayerMix.load(str(tmp_path), "theirs")), mixed(theirs(3, weights)))
    close(mixed(type(theirs()).load(str(folders[0]))), mixed(theirs(3, weights)))


def test_our_own_settings_are_saved(tmp_path: Path) -> None:
    module = LayerMix(6, HIDDEN, layers=range(-2, 0), learn=False, layer_weights=[1.0, 3.0])
    module.save(str(tmp_path))
    loaded = LayerMix.load(str(tmp_path), trust_remote_code=True)
    same(mixed(loaded), mixed(module))
    assert loaded.get_config_dict() == module.get_config_dict()


def test_a_model_of_sentence_transformers(tmp_path: Path) -> None:
    """Encoder, mix and pooling: trained for a step, saved, loaded."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Module, Transformer

    from polypool.text import SentencePooling

    folder = tiny.plain_folder(tmp_path / "encoder")
    encoder = Transformer(str(folder), config_kwargs={"output_hidden_states": True})
    mix = LayerMix(tiny.HIDDEN, num_hidden_layers=2, layer_start=0)
    model = SentenceTransformer(modules=[encoder, mix, SentencePooling(tiny.HIDDEN)], device="cpu")
    assert isinstance(mix, Module)
    features = model.preprocess(["The cat sleeps.", "bread"])
    model(features)["sentence_embedding"].square().sum().backward()
    assert isinstance(mix.layer_weights.grad, Tensor)
    assert mix.layer_weights.grad.any()
    model.save(str(tmp_path / "saved"), create_model_card=False)
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    texts = ["The cat sleeps.", "Water boils"]
    close(*(each.encode(texts, convert_to_tensor=True) for each in (loaded, model)))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, TypeError, "embedding_dimension must be"),
        ({"embedding_dimension": 6, "num_hidden_layers": 2, "layer_start": 4}, ValueError, "from 0 to 2"),
        ({"embedding_dimension": 6, "layers": (13,)}, ValueError, "from 0 to 12"),
        ({"embedding_dimension": 6, "layers": ()}, ValueError, "from 0 to 12"),
        ({"embedding_dimension": 6, "layer_weights": [1.0]}, ValueError, "each of the 9 layers; found"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        LayerMix(**arguments)


def test_features_and_states_that_cannot_be(tmp_path: Path) -> None:
    module = LayerMix(6, HIDDEN, 0)
    with pytest.raises(ValueError, match="output_hidden_states"):
        module({"token_embeddings": STATES[0]})
    with pytest.raises(ValueError, match="num_hidden_layers=4"):
        mixed(module, STATES[:-1])
    with pytest.raises(ValueError, match=r"weights must have shape \(2,\)"):
        mix_layers(STATES[:2], torch.ones(3))
    with pytest.raises(ValueError, match="one shape"):
        mix_layers([STATES[0], STATES[1][:2]], torch.ones(2))
    with pytest.raises(TypeError, match="at least one tensor"):
        mix_layers([], torch.ones(0))
    (tmp_path / "config.json").write_text('{"embedding_dimension": 6, "best": 1}', encoding="utf-8")
    with pytest.raises(ModelFolderError, match="best"):
        LayerMix.load(str(tmp_path))
