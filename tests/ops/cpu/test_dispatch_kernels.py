"""That kernels really run where they can, and that a choice by name which cannot be honoured is an error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import polypool as pp
from polypool.ops import dispatch
from polypool.ops.cpu import team
from tests.support import close, normal

ROWS = {"moments_of_rows", "gradients_of_rows"}
STRETCHES = {"moments_of_stretches", "gradients_of_stretches"}
graph = torch.tensor([1, 0, 1, 1, 0, 1])
real = torch.tensor([[1, 0, 1], [1, 1, 0]]).bool()
LAYOUTS: dict[str, tuple[Callable[[Tensor], pp.Layout], set[str]]] = {
    "nodes": (lambda x: pp.Nodes(x, graph), ROWS),
    "packed": (lambda x: pp.Packed(x, torch.tensor([0, 2, 6])), ROWS),
    "clusters": (lambda x: pp.Clusters(x, graph), ROWS),
    "pairs": (lambda x: pp.Clusters(x, torch.tensor([[0, 1, 1, 5], [0, 0, 1, 1]])), ROWS),
    "tokens": (lambda x: pp.Tokens(x.view(2, 3, 4)), ROWS),
    "tokens, mask": (lambda x: pp.Tokens(x.view(2, 3, 4), mask=real), ROWS),
    "weights": (lambda x: pp.Nodes(x, graph, weight=torch.arange(6.0)), ROWS),
    "spans": (lambda x: pp.Tokens(x.view(2, 3, 4)).spans(torch.tensor([[0, 0, 2], [1, 1, 3]])), ROWS),
    "channels_last": (lambda x: pp.Grid(x.view(2, 1, 3, 4), channels_last=True), ROWS),
    "grid": (lambda x: pp.Grid(x.view(2, 4, 3, 1)), STRETCHES),
    "grid, mask": (lambda x: pp.Grid(x.view(2, 4, 3, 1), mask=real[..., None]), STRETCHES),
    "one channel": (lambda x: pp.Packed(x.view(24, 1), torch.tensor([0, 11, 24])), STRETCHES),
}


def ran(call: Callable[[], object]) -> set[str]:
    """The kernels that ran in a call."""
    before = team.launches()
    call()
    return {name for name, times in team.launches().items() if times != before.get(name, 0)}


def step(
    name: str, make: Callable[[Tensor], pp.Layout], kind: str, dtype: torch.dtype = torch.float32
) -> Any:
    """A forward and a backward pass."""
    x = normal(6, 4, dtype=dtype).requires_grad_()
    with pp.kernels(kind):
        pooled = pp.build(name)(make(x))
    return pooled, *torch.autograd.grad(pooled.square().sum(), x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["var", "max", "mean+max+std"])
def test_kernels_run(name: str, layout: str) -> None:
    make, wanted = LAYOUTS[layout]
    for kind in ("auto", "numba"):
        assert ran(partial(step, name, make, kind)) == wanted
    assert not ran(lambda: step(name, make, "reference"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_has_kernels(dtype: torch.dtype) -> None:
    for make, wanted in (LAYOUTS["nodes"], LAYOUTS["grid"]):
        assert ran(partial(step, "var", make, "numba", dtype)) == wanted


def test_a_backward_pass_belongs_to_its_forward_pass() -> None:
    """Whatever is chosen when it runs."""
    x = normal(6, 4).requires_grad_()
    with pp.kernels("reference"):
        plain = pp.build("var")(pp.Nodes(x, graph))
    fast = pp.build("var")(pp.Nodes(x, graph))
    with pp.kernels("numba"):
        assert not ran(lambda: torch.autograd.grad(plain.sum(), x))
    with pp.kernels("reference"):
        assert ran(lambda: torch.autograd.grad(fast.sum(), x)) == {"gradients_of_rows"}


def test_an_unpadded_mean_is_one_operation_of_torch() -> None:
    """Which reads memory once, as a kernel would; by name the kernel runs."""
    make, _ = LAYOUTS["tokens"]
    assert not ran(lambda: step("mean", make, "auto"))
    assert ran(lambda: step("mean", make, "numba")) == ROWS
    assert ran(lambda: step("mean", make, "auto", torch.bfloat16)) == ROWS


def test_learned_weights() -> None:
    """Where a kernel has their gradient it runs, and where it has none the definition does."""
    x, w = normal(6, 4).requires_grad_(), (1 + torch.arange(6.0)).requires_grad_()

    def gradient(name: str) -> Tensor:
        found: Tensor = torch.autograd.grad(pp.build(name)(pp.Nodes(x, graph, weight=w)).square().sum(), w)[0]
        return found

    for name in ("sum", "mean", "var"):
        assert "gradients_of_shares" in ran(partial(gradient, name))
    for name in ("sum", "mean", "var", "moments"):
        with pp.kernels("reference"):
            wanted = gradient(name)
        close(gradient(name), wanted, name)


def test_nothing_is_computed_for_a_gradient_that_nobody_wants() -> None:
    x = normal(6, 4)
    assert ran(lambda: pp.build("var")(pp.Nodes(x, graph))) == {"moments_of_rows"}
    with torch.no_grad():
        assert ran(lambda: pp.build("var")(pp.Nodes(x.requires_grad_(), graph))) == {"moments_of_rows"}
    with torch.inference_mode():
        assert ran(lambda: pp.build("var")(pp.Nodes(normal(6, 4), graph))) == {"moments_of_rows"}


x = normal(6, 4)
pool = pp.build("var")


def call(x: Tensor) -> Tensor:
    y: Tensor = pool(pp.Nodes(x, graph, 2))
    return y


def forward_mode() -> None:
    with forward_ad.dual_level():
        call(forward_ad.make_dual(x, x))


class Special(torch.Tensor):
    """A tensor that is more than its numbers."""


class Program(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return call(x)


def traced() -> None:
    """What `torch.onnx.export(dynamo=False)` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of itself, and of every value that is looked at
        torch.jit.trace(Program(), (x,), check_trace=False)


@pytest.mark.parametrize(
    ("cannot", "reason"),
    [
        (lambda: torch.func.grad(lambda x: call(x).sum())(x), "torch.func transforms need plain torch"),
        (lambda: torch.func.jvp(call, (x,), (x,)), "torch.func transforms need plain torch"),
        (lambda: torch.func.vmap(call)(x[None]), "torch.func transforms need plain torch"),
        (forward_mode, "forward-mode derivatives need plain torch"),
        (lambda: torch.export.export(Program(), (x,)), "exported programs are plain torch"),
        (traced, "traced programs are plain torch"),
        (
            lambda: pool(pp.Tokens(torch.empty(2, 3, 4, device="meta"))),
            "they compute on the CPU; found meta",
        ),
        (lambda: call(x.to(torch.float8_e4m3fn)), "they compute on .*; found torch.float8_e4m3fn"),
        (lambda: call(x.as_subclass(Special)), "they compute on plain tensors; found Special"),
    ],
    ids=["grad", "jvp", "vmap", "forward mode", "export", "trace", "meta", "float8", "subclass"],
)
def test_a_choice_that_cannot_be_honoured(cannot: Callable[[], object], reason: str) -> None:
    """An error that says why and what to do; with "auto" the definition runs."""
    with (
        pp.kernels("numba"),
        pytest.raises(RuntimeError, match=rf'kernels\("numba"\) cannot run here: {reason}\. Use kernels'),
    ):
        cannot()
    if "float8" not in reason:  # which torch itself cannot add up
        assert not ran(cannot)


def test_dense_layouts_under_a_compiler_by_name() -> None:
    """They are left to the compiler, which by name is an error as well."""
    torch.compiler.reset()
    program = torch.compile(lambda x: pool(pp.Tokens(x)), backend="aot_eager", fullgraph=True)
    with pp.kernels("numba"), pytest.raises(Exception, match="cannot run here"):
        program(normal(2, 3, 4))
    torch.compiler.reset()


def test_nothing_to_compute_on_is_no_error() -> None:
    """An empty batch is not a reason to stop a program that asks for kernels."""
    for kind in ("auto", "numba"):
        with pp.kernels(kind):
            assert pool(pp.Nodes(x[:0], graph[:0], 2)).tolist() == [[0.0] * 4] * 2
            assert pool(pp.Tokens(normal(2, 0, 4))).tolist() == [[0.0] * 4] * 2


def test_an_installation_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told so once, and is slower; by name it is an error."""
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "numba", None)
    dispatch._installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match="numba is not installed. pip install polypool") as caught:
            assert not ran(lambda: (call(x), call(x), call(x)))
        assert len(caught) == 1
        with pytest.raises(RuntimeError, match="numba is not installed"), pp.kernels("numba"):
            pass
    finally:
        dispatch._installed.cache_clear()


def test_an_installation_that_loses_numba_inside_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with pp.kernels("numba"):
        monkeypatch.setattr(dispatch, "_installed", lambda: False)
        with pytest.raises(RuntimeError, match=r"cannot run here: numba is not installed; pip install"):
            call(x)


@pytest.mark.parametrize("given", ["reference", "auto", "numba", ""])
def test_the_environment_chooses(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYPOOL_KERNELS", given)
    dispatch._from_environment.cache_clear()
    try:
        assert dispatch.choice() == (given or "auto")
        assert bool(ran(lambda: call(x))) == (given != "reference")
        with pp.kernels("auto"):
            assert ran(lambda: call(x))
    finally:
        monkeypatch.undo()
        dispatch._from_environment.cache_clear()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("fast", ValueError, "POLYPOOL_KERNELS must be one of auto, reference, numba, triton; found 'fast'"),
        ("triton", RuntimeError, "no triton kernels; choose auto, reference or numba"),
    ],
)
def test_an_environment_that_cannot_be(
    given: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYPOOL_KERNELS", given)
    dispatch._from_environment.cache_clear()
    try:
        with pytest.raises(error, match=message):
            call(x)
    finally:
        monkeypatch.undo()
        dispatch._from_environment.cache_clear()


def test_threads_of_python_choose_for_themselves() -> None:
    """A block in one thread is not a block in another."""
    from concurrent.futures import ThreadPoolExecutor

    with pp.kernels("reference"), ThreadPoolExecutor(1) as other:
        assert other.submit(dispatch.choice).result() == "auto"
        assert dispatch.choice() == "reference"
