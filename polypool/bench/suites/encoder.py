"""The pooling of a sentence encoder, and its share of the whole encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

import polypool as pp
from polypool.bench.contest import contest
from polypool.bench.contestant import Contestant
from polypool.bench.pooled import Options, one_read
from polypool.bench.record import Row
from polypool.bench.rivals import sentences
from polypool.bench.suites import model
from polypool.bench.suites.case import Case
from polypool.bench.truth import apart
from polypool.testing.tolerances import TOLERANCES

NAME = "mean of a MiniLM encoding"
CASE = "encoder/minilm"
TEXTS = 64


def cases() -> list[Case]:
    """Texts from one sentence to sixteen."""
    return [Case(CASE, model.TABLE, _run)]


def texts(count: int) -> list[str]:
    """Texts of all lengths, from the sentences of the demo."""
    from polypool.demo.corpus import SENTENCES

    twice = SENTENCES * 2
    return [" ".join(twice[i % len(SENTENCES) :][: 1 + i % 16]) for i in range(count)]


def _run(options: Options) -> Iterator[Row]:
    from polypool.demo.encoder import NoModelError, find_model, load

    try:
        if why := model.missing("transformers"):
            raise NoModelError(why)
        encoder = load(find_model(None))
    except NoModelError as error:
        yield model.absent(CASE, NAME, "texts of 1 to 16 sentences", options, str(error))
        return
    written = texts(max(4, round(TEXTS * options.scale)))
    tokens = encoder.tokens(written)
    hidden, mask = tokens.values, tokens.mask
    if mask is None:
        raise RuntimeError("the tokenizer gave no mask")
    spent = []
    for _ in range(3):
        start = perf_counter()
        encoder.tokens(written)
        spent.append(perf_counter() - start)
    encoding = median(spent) * 1e3
    standing = contest(
        _contestants(hidden, mask), one_read(hidden), options.effort, warm=options.allocator == "warm"
    )
    shares = [
        f"{entry.name} {entry.ms / (encoding + entry.ms):.2%}"
        for entry in standing.entries
        if entry.ms is not None
    ]
    yield model.row(
        CASE,
        NAME,
        f"{len(written)} texts of up to {hidden.shape[1]} tokens, {hidden.shape[2]} channels",
        hidden,
        standing,
        options,
        layout="tokens",
        cells=len(written),
        direction="forward",
        note=f"Tokenizer and transformer take {encoding:.0f} ms; of the whole, pooling is: {', '.join(shares)}.",
    )


def _contestants(hidden: Tensor, mask: Tensor) -> list[Contestant]:
    wide, real = hidden.double(), mask[..., None].double()
    true = (wide * real).sum(1) / real.sum(1)

    def judge(results: tuple[Tensor, ...]) -> str:
        return apart(results[0], true, TOLERANCES[torch.float32], floor=1.0)

    def quiet(call: Callable[[Tensor], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (call(hidden),)

        return run

    def composed(x: Tensor) -> Tensor:
        kept = mask[..., None]
        return (x * kept).sum(1) / kept.sum(1)

    pool = pp.build("mean")
    found = [
        Contestant("polypool", quiet(lambda x: pool(pp.Tokens(x, mask))), judge, compiles=True),  # type: ignore[arg-type]
        Contestant("torch, composed", quiet(composed), judge),  # type: ignore[arg-type]
    ]
    name = "sentence-transformers mean"
    if why := model.missing(sentences.PACKAGE):
        return [*found, Contestant.absent(name, why)]
    call = sentences.pooling("mean", hidden.shape[2], mask.to(torch.int64))
    return [*found, Contestant(name, quiet(call), judge)]  # type: ignore[arg-type]
