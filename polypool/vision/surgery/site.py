"""A place where a model pools."""

from __future__ import annotations

from dataclasses import dataclass

#: What `where` may name.
KINDS = {
    "global": "all places become one vector",
    "down": "a map becomes a smaller one",
    "squeeze": "the vector behind the gate of a Squeeze-and-Excitation block",
    "stride": "a convolution that moves by more than one pixel",
    "tokens": "one vector is read from a row of tokens",
}


@dataclass(frozen=True)
class Site:
    """A place where a model pools or samples.

    Attributes:
        name: The name of the module; for a function the module in whose forward it is called, and `::` with the
            name of the operator.
        kind: `"global"`, `"down"`, `"squeeze"`, `"stride"` or `"tokens"`.
        operator: What the pooling is, by the names of `polypool.names()` where it has one.
        source: The class of the module, or the function.
        input: The shape that came in when the model ran on the sample; None when it did not come here.
        output: The shape that went out.
        counts: For each spatial dimension how much each place counts in all results together, 1 being the average:
            for means the sum of its weights, for a maximum and a convolution the number of windows that see it. Empty
            where that depends on the values.
        risks: What may go wrong here, in words.
        obstacle: Why `swap` cannot put another pooling here; None when it can.
    """

    name: str
    kind: str
    operator: str
    source: str
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None
    counts: tuple[tuple[float, ...], ...] = ()
    risks: tuple[str, ...] = ()
    obstacle: str | None = None
