"""What every layout is: values, the cells they belong to, and the way back to the shape of the values."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from polypool import _checks
from polypool.cells import Cells


class Layout(ABC):
    """Where the elements are, and which cell each belongs to.

    A layout is a plain object that can be passed to compiled and exported functions. Its structure (offsets, order,
    counts) is computed once and kept by `with_values`; nothing is cached anywhere else.

    Attributes:
        kind: The name of the modality: `"grid"`, `"tokens"`, `"packed"`, `"nodes"` or `"clusters"`.
        values: The tensor that the user gave.
        weight: The numbers that the user gave for each element, or None.
    """

    kind: ClassVar[str]
    #: The tensors of the structure, by attribute; `values` and `weight` come with every layout.
    structure: ClassVar[tuple[str, ...]] = ()
    #: The plain Python attributes.
    settings: ClassVar[tuple[str, ...]] = ()

    values: Tensor
    weight: Tensor | None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        pytree.register_pytree_node(
            cls,
            _flatten,
            lambda leaves, context: _unflatten(cls, leaves, context),
            flatten_with_keys_fn=_flatten_with_keys,
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            to_dumpable_context=cls._to_json,
            from_dumpable_context=cls._from_json,
        )
        torch.serialization.add_safe_globals([cls])  # tensors and plain settings, nothing that could run

    def __getstate__(self) -> dict[str, Any]:
        """What was given; what was computed from it is computed again."""
        return {name: getattr(self, name) for name in (*_tensor_names(type(self)), *self.settings)}

    @classmethod
    def _to_json(cls, context: tuple[Any, ...]) -> list[Any]:
        """The settings as JSON, for programs that are exported with a layout as input and saved."""
        return list(context)

    @classmethod
    def _from_json(cls, context: list[Any]) -> tuple[Any, ...]:
        return tuple(context)

    @property
    @abstractmethod
    def cells(self) -> Cells:
        """The cells, for an operator to pool. Each use makes them anew, since kept rows would keep a graph alive."""

    @property
    @abstractmethod
    def num_cells(self) -> int:
        """How many cells there are."""

    @property
    @abstractmethod
    def counts(self) -> Tensor:
        """`(num_cells,)` int64, the elements of each cell that are neither padding nor of weight 0."""

    @property
    def weighted(self) -> bool:
        """Whether members may count other than 1."""
        return self.weight is not None

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of channels of the values."""

    @property
    @abstractmethod
    def disjoint(self) -> bool:
        """Whether no element is known to be in two cells."""

    @abstractmethod
    def collect(self, v: Tensor) -> Tensor:
        """Numbers of the members, `(..., N, c)`, added up at their elements: the shape of the values, c channels."""

    def elements(self, v: Tensor) -> Tensor:
        """Numbers of the members in the shape of the values; 0 at padding.

        Raises:
            NotImplementedError: Cells overlap, so an element may have several numbers.
        """
        if not self.disjoint:
            raise NotImplementedError(
                "numbers per element need disjoint cells; these overlap or are soft. Use windows with a stride of at "
                "least the kernel, bins that divide the grid, spans that do not overlap, or hard clusters."
            )
        return self.collect(v)

    def lift(self, y: Tensor) -> Tensor:
        """A vector per cell back to the elements: `(num_cells, c)` to the shape of the values with c channels.

        For disjoint cells each element gets its cell's vector; for overlapping or soft ones the weighted adjoint of
        sum. Padding gets 0. What `arrange` gives is taken as well.

        Raises:
            ValueError: `y` has another number of cells.
        """
        rows = self.rows_of(_checks.tensor(y, "y"))
        if rows.dim() != 2 or rows.shape[0] != self.num_cells:
            raise ValueError(
                f"y must have shape (num_cells, c) with num_cells = {self.num_cells}; found {_checks.shape(y)}. "
                "Pool this layout to get one row for each of its cells."
            )
        return self._lift(rows)

    @abstractmethod
    def _lift(self, y: Tensor) -> Tensor:
        """`lift` of one row per cell."""

    def arrange(self, y: Tensor) -> Tensor:
        """Pooled cells `(num_cells, c)` in the shape that the user expects of this layout."""
        return y

    def rows_of(self, pooled: Tensor) -> Tensor:
        """The inverse of `arrange`: one row per cell."""
        return pooled

    def scale(self, y: Tensor) -> Tensor:
        """The layout's values times `lift(y)`, without writing out the lifted tensor where broadcasting will do."""
        real, values = self._real_elements, self.values
        if real is not None:
            # Cleaned before the product: NaN in padding times a gradient of 0 is NaN.
            values = torch.where(real, values, torch.zeros((), dtype=values.dtype, device=values.device))
        return values * self.lift(y)

    @property
    @abstractmethod
    def _real_elements(self) -> Tensor | None:
        """Which elements are in some cell, bool in the shape of the values with one channel; None when all are."""

    def with_values(self, values: Tensor) -> Self:
        """The same structure around other values; the number of channels may differ."""
        _checks.values(values, "values", (self.values.dim(),), f"with {self.values.dim()} dimensions")
        channel = self._channel_dim
        found, expected = list(values.shape), list(self.values.shape)
        del found[channel], expected[channel]
        if found != expected:
            raise ValueError(
                f"values must have the shape of the layout's, {tuple(self.values.shape)}, but for the channels; "
                f"found {tuple(values.shape)}. Make a new layout for another structure."
            )
        _checks.same_device(values, "values", self.values)
        # While compiling nothing is kept.
        state = self.__getstate__() if torch.compiler.is_compiling() else vars(self)
        other: Self = _rebuild(type(self), state | {"values": values})
        return other

    @property
    def _channel_dim(self) -> int:
        return -1

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """`Tensor.to` for the whole layout: a dtype changes the values alone, never masks, indices or weights."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype in (torch.bool, *_checks.INTEGERS):
            raise TypeError(f"dtype must be floating; found {dtype}. The values of a layout are.")
        moved = self.__getstate__()
        for name in _tensor_names(type(self)):
            tensor = moved[name]
            moved[name] = None if tensor is None else tensor.to(device=device, non_blocking=non_blocking)
        if dtype is not None:
            moved["values"] = moved["values"].to(dtype)
        other: Self = _rebuild(type(self), moved)
        return other

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(values={_checks.shape(self.values)}, num_cells={self.num_cells}"
            f"{', weighted' if self.weighted else ''})"
        )


def _tensor_names(cls: type[Layout]) -> tuple[str, ...]:
    return ("values", "weight", *cls.structure)


def _flatten(layout: Layout) -> tuple[list[Any], tuple[Any, ...]]:
    return [getattr(layout, name) for name in _tensor_names(type(layout))], tuple(
        getattr(layout, name) for name in layout.settings
    )


def _flatten_with_keys(layout: Layout) -> tuple[list[tuple[pytree.KeyEntry, Any]], tuple[Any, ...]]:
    leaves, context = _flatten(layout)
    return [
        (pytree.GetAttrKey(n), t) for n, t in zip(_tensor_names(type(layout)), leaves, strict=True)
    ], context


def _unflatten(cls: type[Layout], leaves: Any, context: tuple[Any, ...]) -> Layout:
    return _rebuild(cls, dict(zip((*_tensor_names(cls), *cls.settings), (*leaves, *context), strict=True)))


def _rebuild(cls: type[Any], state: dict[str, Any]) -> Any:
    """Bypasses `__init__`: what is put back has been checked, and leaves need not be tensors while tracing."""
    layout = object.__new__(cls)
    for name, value in state.items():
        setattr(layout, name, value)
    return layout
