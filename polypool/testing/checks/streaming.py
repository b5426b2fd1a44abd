"""Parts of cells, pooled one after the other and merged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

import polypool as pp
from polypool.testing.bags import Bags, draw, generator
from polypool.testing.check import check
from polypool.testing.forms import one_of_each
from polypool.testing.measure import describe, pooled
from polypool.testing.subject import Subject
from polypool.testing.tolerances import Skip, agree, require

State = Mapping[str, Tensor]


@check()
def merge(subject: Subject) -> None:
    """`merge` is associative and commutative, and parts give what one pass gives, empty parts included."""
    if not subject.card.decomposable:
        raise Skip("the card does not say decomposable")
    pool = subject.pool()
    for weighted in (False, True)[: 1 + subject.takes_weights]:
        whole = draw((31, 0, 2, 63), subject.channels, weighted=weighted, seed=36)
        for seed in range(2 if subject.level == "quick" else 10):
            for kind in subject.kinds:
                parts_agree(pool, kind, whole, seed)
    half_states(subject)


def parts_agree(pool: pp.Pooling, kind: str, whole: Bags, seed: int) -> None:
    samples = [next(one_of_each([kind], bags)) for bags in (whole, *split(whole, 3, seed))]
    total, *parts = samples
    where = describe(total, "weights" if total.weights else "")
    a, b, c = (pool.state(sample.layout()) for sample in parts)
    wanted = pooled(pool, total)
    agree(pool.finalize(pool.state(total.layout())), wanted, f"{where}: finalize(state)")
    left, right = pool.merge(pool.merge(a, b), c), pool.merge(a, pool.merge(b, c))
    agree(pool.finalize(left), wanted, f"{where}: three parts merged")
    states_agree(left, right, f"{where}: merge is not associative")
    states_agree(pool.merge(a, b), pool.merge(b, a), f"{where}: merge is not commutative")


def states_agree(a: State, b: State, where: str) -> None:
    require(a.keys() == b.keys(), f"{where}: {sorted(a)} and {sorted(b)}")
    for key in a:
        agree(a[key].double(), b[key].double(), f"{where}, {key}")


def split(bags: Bags, parts: int, seed: int) -> list[Bags]:
    """Each element to one of the parts at random, the last part empty in the first cell."""
    source = generator(seed)
    owners = [torch.randint(parts, (n,), generator=source) for n in bags.sizes]
    owners[0] = owners[0] % (parts - 1)
    weights = bags.weights
    return [
        Bags(
            tuple(x[o == part] for x, o in zip(bags.elements, owners, strict=True)),
            None if weights is None else tuple(w[o == part] for w, o in zip(weights, owners, strict=True)),
        )
        for part in range(parts)
    ]


def half_states(subject: Subject) -> None:
    """States are float32 or wider, whatever the input is, with one row per cell."""
    pool = subject.pool(torch.float32)
    for sample in one_of_each(subject.kinds, draw((5, 2), subject.channels, torch.float16)):
        for key, tensor in pool.state(sample.layout()).items():
            found = f"{describe(sample)}: state {key!r} is {tensor.dtype} {list(tensor.shape)}"
            require(tensor.dtype not in (torch.float16, torch.bfloat16), found)
            require(tensor.shape[0] == 2, found)
