"""An operator is a torch module like any other."""

from __future__ import annotations

import copy
import pickle

import torch

from polypool.testing.bags import draw
from polypool.testing.check import check
from polypool.testing.forms import one_of_each
from polypool.testing.measure import describe, measured, pooled
from polypool.testing.subject import Subject
from polypool.testing.tolerances import HALF_NETWORK, TOLERANCES, agree, identical, require


@check()
def state_dict_pickle_deepcopy(subject: Subject) -> None:
    """A state_dict, a pickle and a deepcopy carry everything that the operator is."""
    pool = subject.pool(torch.float32)
    other = copy.deepcopy(pool)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(pool.state_dict())
    twins = {"state_dict": other, "deepcopy": copy.deepcopy(pool), "pickle": pickle.loads(pickle.dumps(pool))}
    for sample in one_of_each(subject.kinds, draw((6, 0, 9), subject.channels, torch.float32, seed=34)):
        wanted = pooled(pool, sample)
        for name, twin in twins.items():
            identical(pooled(twin, sample), wanted, describe(sample, f"after {name}"))


@check()
def to_dtype(subject: Subject) -> None:
    """`.half()`, `.bfloat16()` and `.double()` modules work on inputs of any dtype and return the input's."""
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    plain = subject.pool()
    for parameters in dtypes:
        pool = subject.pool(parameters)
        for inputs in dtypes:
            coarse = [t for t in (parameters, inputs) if t in dtypes[:2]]
            for sample in one_of_each(subject.kinds, draw((6, 0, 9), subject.channels, inputs, seed=35)):
                where = describe(sample, f"parameters {str(parameters).removeprefix('torch.')}")
                found = measured(pool, sample)
                require(found.out.dtype == inputs, f"{where}: the result is {found.out.dtype}")
                require(found.rows.dtype == inputs, f"{where}: the gradient is {found.rows.dtype}")
                tolerance = HALF_NETWORK if coarse else TOLERANCES[torch.float32]
                agree(found.out.double(), separately_in(subject, plain, sample), where, tolerance)


def separately_in(subject: Subject, pool: torch.nn.Module, sample: object) -> torch.Tensor:
    """Each cell by itself in float64."""
    bags = sample.cells().to(torch.float64)  # type: ignore[attr-defined]
    with torch.no_grad():
        return torch.stack([subject.alone(pool, x) for x in bags.elements])  # type: ignore[arg-type]
