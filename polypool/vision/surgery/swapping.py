"""Another pooling in a model that exists."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.optim import Optimizer

from polypool.pooling import Pooling
from polypool.vision.blur import BlurPool
from polypool.vision.global_pool import GlobalPool
from polypool.vision.surgery.attach import TokenPool, attach
from polypool.vision.surgery.blurring import blurred, is_blur
from polypool.vision.surgery.choose import Where, chosen
from polypool.vision.surgery.edits import Edits
from polypool.vision.surgery.excite import Excite
from polypool.vision.surgery.find import Found, find
from polypool.vision.surgery.holders import holder_of, placed, record
from polypool.vision.surgery.report import Report, Swapped
from polypool.vision.surgery.running import allowed, change, require_optimizer, run
from polypool.vision.surgery.starts import Pool, copied, start
from polypool.vision.surgery.trace import MISFITS, Sample, Trace, output_of
from polypool.vision.surgery.widen import PASSED, Reader, WideningError, readers, widen


def swap(
    model: nn.Module,
    pool: Pool,
    where: Where = "global",
    optimizer: Optimizer | None = None,
    *,
    sample: Sample | None = None,
) -> Report:
    """Puts another pooling into a model, in place: weights stay, and it begins as what it was where it can.

    Every site gets an instance of its own. Nothing is changed when something is wrong.

    - For a mean, `"gem"` begins at p = 1 in a form that keeps signs, and attention at equal scores; both learn.
    - A `+` string, and `"moments"` and `"attentive_stats"` in place of a mean, widen what reads the pooled vector:
      the columns of the part that is the old pooling are kept, the others begin at 0.
    - `"blur"` runs the windows at every pixel, or the convolution, and samples the result through a `BlurPool` whose
      `amount` begins at 0 and is learned. A `BlurPool` says kernel, border and amount; its stride is that of the site.
    - Others, such as a maximum for a mean, are allowed; the report says that the function changes.

    Args:
        model: Any module.
        pool: A name; a pooling or another module, which is copied for each site as it is; or a function that makes one
            from a `Site`.
        where: A kind (`"global"`, `"down"`, `"squeeze"`, `"stride"`, `"tokens"`), a name, a pattern (`*` within a part
            of a name or, where that fits nothing, over dots, `**` always over dots), a list of these, or a function of
            the `Site`.
        optimizer: Is brought up to date: parameters that grew keep their place and their state, those of poolings
            that are gone leave, and new ones join the group of what reads the pooling. Exponents and blurs, numbers
            and vectors, join without weight decay.
        sample: What the model is run on, twice, in evaluation mode: a tensor, a tuple of arguments or a mapping of
            named ones. When None, random images that fit its first convolution.

    Returns:
        What was done, and how far the output on the sample moved.

    Cost:
        Two forward passes on the sample, the first with the memory of all its activations.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `where` fits no site (the sites are listed), a named site cannot be swapped, what reads the pooled
            vector cannot be widened, or the model does not run any more.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polypool.vision import swap
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> x = torch.randn(2, 3, 9, 9)
        >>> before = net(x)
        >>> report = swap(net, "mean+max", sample=x)
        >>> report.keeps, torch.allclose(net(x), before, atol=1e-6), net[3]
        (True, True, Linear(in_features=16, out_features=5, bias=True))
        >>> print(report.swapped[0])
        1: mean -> mean+max, begins as it was, widened 3
    """
    sample, trace = run(model, sample)
    if optimizer is not None:
        require_optimizer(optimizer, model)
    _require_pool(pool)
    picked, named = chosen(find(model, trace), where)
    refused = {id(one): obstacle for one in picked if (obstacle := _obstacle(one, pool)) is not None}
    able = [one for one in picked if id(one) not in refused]
    if refused and (named or not able):
        one = next(one for one in picked if id(one) in refused)
        raise ValueError(f"{one.site.name} cannot be swapped: {refused[id(one)]}.")
    before = [] if trace is None else [x.clone() for x in trace.results()]
    edits = Edits(model)
    try:
        done = [_put(edits, one, pool, trace) for one in able]
        moved = None
        if sample is not None:
            moved = _moved(model, sample, before, all(one.keeps for one in done))
        if optimizer is not None:
            edits.tell(optimizer)
    except BaseException:
        edits.take_back()
        raise
    skipped = [replace(one.site, obstacle=refused[id(one)]) for one in picked if id(one) in refused]
    return Report(tuple(done), tuple(skipped), moved)


def _moved(model: nn.Module, sample: Sample, before: list[Tensor], keeps: bool) -> float:
    """How far the output moved.

    Raises:
        ValueError: The model does not run any more, its output has another shape, or it moved though it should not.
    """
    try:
        after = output_of(model, sample)
        moved = change(before, after)
    except MISFITS as error:
        raise ValueError(
            f"the model does not take this pooling: {' '.join(str(error).split())}. Nothing was changed."
        ) from error
    if keeps and not moved <= allowed(before):
        raise ValueError(
            f"the pooling should begin as the old one, but the output moves by {moved:.2g}: something else reads the "
            "pooled vector. Nothing was changed."
        )
    return moved


def _require_pool(pool: object) -> None:
    if not (isinstance(pool, str | nn.Module) or callable(pool)):
        raise TypeError(
            f"pool must be a name, a pooling, a module or a function that makes one; found {type(pool).__name__}."
        )


def _obstacle(one: Found, pool: Pool) -> str | None:
    """Why a site cannot have the pooling."""
    if one.site.obstacle is not None:
        return one.site.obstacle
    how = None if one.form is None else one.form.how
    if is_blur(pool):
        if how not in ("windows", "stride") or one.site.kind not in ("down", "stride"):
            return "a blur takes the place of windows with a stride, or comes behind a convolution with one"
        if one.form is not None and one.form.ceil_mode:
            return "its last window may reach beyond the map (ceil_mode), where a blur has nothing to sample"
        return None
    if how == "stride":
        return 'it is a convolution, which samples and does not pool; pool="blur" puts a blur behind it'
    return None


def _put(edits: Edits, one: Found, pool: Pool, trace: Trace | None) -> Swapped:
    made: object = pool
    if isinstance(pool, nn.Module):
        made = copied(pool)
    elif not isinstance(pool, str):
        made = pool(one.site)
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"pool must make a module for {one.site.name}; found {type(made).__name__}. Return a pooling."
            )
    if isinstance(made, BlurPool) or made == "blur":
        return blurred(edits, one, made if isinstance(made, BlurPool) else None)
    if isinstance(made, str | Pooling):
        return _pooled(edits, one, made, trace)
    if one.module is None or not isinstance(made, nn.Module):
        raise ValueError(
            f"pool must be a name or a Pooling for {one.site.name}, which is a function; found {type(made).__name__}."
        )
    edits.replace(one.site.name, placed(edits.model, made))
    return record(one, type(made).__name__, False, note="its function is that of the module")


def _pooled(edits: Edits, one: Found, pool: str | Pooling, trace: Trace | None) -> Swapped:
    model, site = edits.model, one.site
    begun = start(pool, site, _old(one), one.channels)
    placed(model, begun.pool)
    found: list[Reader] = []
    why: str | None = "it did not run, so nothing is known of what reads it"
    if trace is not None and one.pooled is not None and one.channels is not None:
        try:
            found, why = readers(model, trace, one.pooled, one.stop, begun.taken), None
        except WideningError as error:
            why = str(error)
    notes = [begun.note]
    if one.form is not None and one.form.windows is not None and site.kind in ("global", "squeeze"):
        notes.append("maps of every size become one vector now")
    widened: list[str] = []
    if begun.width != begun.taken:
        why = why or _read_in_vain(one, trace)
        if why is not None or begun.width < begun.taken:
            way = why or "nothing is made narrower"
            raise ValueError(
                f"{site.name} gives {begun.taken} channels and would give {begun.width}, and what reads it cannot be "
                f"widened: {way}. Choose a pooling that keeps the channels."
            )
        for reader in found:
            try:
                widen(edits, reader, begun.taken, begun.width, begun.place)
            except WideningError as error:
                raise ValueError(f"what reads {site.name} cannot be widened: {error}.") from error
            widened.append(reader.name)
        if not all(p.requires_grad for reader in found for p in reader.module.parameters()):
            notes.append("a widened layer is frozen, so its new inputs stay at 0")
    weights = [p for reader in found for p in reader.module.parameters()]
    edits.stand_near(begun.pool, sorted(weights, key=lambda p: -p.dim()))
    notes.append(_install(edits, one, begun.pool))
    return record(one, begun.pool.card.name, begun.keeps, tuple(widened), "; ".join(filter(None, notes)))


def _read_in_vain(one: Found, trace: Trace | None) -> str | None:
    """What else reads the map that becomes a vector, though the output does not depend on it."""
    if one.read is None or one.anchor is None or one.anchor.before or trace is None:
        return None
    for step in trace.steps:
        if any(x is one.read.before for x in step.inputs) and step is not trace.steps[one.read.number]:
            inside = step.inside.startswith(one.anchor.name)
            if not inside and step.operator not in PASSED:
                return f"{step.inside} reads the same map, though the output does not depend on it; switch it off"
    return None


def _install(edits: Edits, one: Found, pool: Pooling) -> str:
    """Puts the pooling in; says where, if that is not the name of the site."""
    if one.anchor is not None and one.read is not None:
        last = one.read.form == "last"
        new: nn.Module = (
            TokenPool(pool) if one.read.form == "tokens" else GlobalPool(pool, channels_last=last)
        )
        return f"in {one.anchor.name}.{attach(edits, one.anchor.module, 'pool', new, one.anchor.before)}"
    if one.order is not None:
        name = one.site.name.partition("::")[0]
        block = Excite(edits.model.get_submodule(name), one.order)
        block.pooled_by(GlobalPool(pool))
        edits.replace(name, block)
        return f"in {name}.pool"
    edits.replace(one.site.name, holder_of(one, pool))
    return ""


def _old(one: Found) -> Pooling | None:
    """The pooling of this package that is there."""
    if isinstance(one.module, Pooling):
        return one.module
    held = getattr(one.module, "pool", None)
    return held if isinstance(held, Pooling) else None
