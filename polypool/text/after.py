"""What comes after pooling: affine maps of the vectors, fitted on the mean and covariance of many of them.

Each is a `Dense` without activation, which sentence-transformers has too, so that a folder saved with it needs no
polypool to be loaded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polypool import _checks
from polypool.poolings._settings import number
from polypool.text.dense import Dense
from polypool.text.moments import Moments

# Vectors are float32: a spread below this share of their root mean square length is rounding, not data.
_ROUNDING = 1e-6


def whitening(moments: Moments, dimensions: int | None = None, *, eps: float = 0.0) -> Dense:
    """Centres the vectors and gives them the identity as covariance, in the directions in which they vary most.

    Equation: `y = L^(-1/2) U^T (x - mean)`, with the k largest eigenvalues L of the covariance and their vectors U;
    with `eps`, `L + eps l` where l is the mean of all eigenvalues.

    Args:
        moments: Of the vectors to whiten, from `fit_moments` or `Moments().update`.
        dimensions: How many directions k to keep; all when None.
        eps: What is added to the eigenvalues, as a share of their mean, >= 0. More than 0 keeps directions of little
            variance from being blown up, and the covariance is then below the identity. 1e-3 is a start where there are
            not many times more vectors than channels.

    Returns:
        `Dense` from C to k channels, with a bias.

    Raises:
        TypeError: An argument has a type that does not fit.
        ValueError: There are no vectors, `dimensions` is larger than C or `eps` below 0, or the vectors do not vary in
            so many directions (n vectors vary in n - 1 at most) and `eps` is 0.

    Source: Su et al. 2021, Whitening Sentence Representations for Better Semantics and Faster Retrieval, algorithm 1.
    Their code divides the covariance by n - 1, which is one factor for all vectors.

    Example:
        >>> import torch
        >>> from polypool.text import Moments, whitening
        >>> vectors = torch.randn(500, 4) @ torch.randn(4, 4) + 3.0
        >>> white = whitening(Moments().update(vectors))(vectors)
        >>> torch.allclose(white.T.cov(correction=0), torch.eye(4), atol=1e-4)
        True
    """
    _require(moments)
    if not 0 <= number(eps, "eps") < math.inf:
        raise ValueError(f"eps must be >= 0 and finite; found {eps}. Leave it out, or try 1e-3.")
    kept = _dimensions(dimensions, moments.channels)
    values, vectors = _principal(moments.covariance)
    rank = int((values > _least(moments)).sum())
    if rank < kept and eps == 0:
        raise ValueError(
            f"whitening to {kept} dimensions needs vectors that vary in as many directions; found {rank}, in "
            f"{moments.n} vectors. Pass dimensions={rank} or less, more texts, or eps=1e-3."
            if rank
            else f"whitening needs vectors that differ; found {moments.n} that do not. Pass more texts."
        )
    # Without variance at all, 1 / sqrt(eps l) is infinite as well.
    if rank == 0:
        raise ValueError(
            f"whitening needs vectors that differ; found {moments.n} that do not. Pass more texts."
        )
    scale = (values[:kept].clamp(min=0) + eps * values.clamp(min=0).mean()).rsqrt()
    weight = scale[:, None] * vectors[:, :kept].T
    return _dense(weight, -weight @ moments.mean)


def remove_common(moments: Moments, components: int = 1, *, center: bool = False) -> Dense:
    """Takes out of every vector the directions that all vectors share.

    Equation: `y = x - U U^T x`, with U the first eigenvectors of `E x x^T` (SIF); with `center`,
    `y = (x - mean) - U U^T (x - mean)`, with U those of the covariance (all-but-the-top).

    Args:
        moments: Of the vectors, from `fit_moments` or `Moments().update`.
        components: How many directions; SIF takes 1. All-but-the-top suggests C / 100; 0 then only centres.
        center: Whether to subtract the mean first.

    Returns:
        `Dense` from C to C channels, with a bias when it centres.

    Raises:
        TypeError: An argument has a type that does not fit.
        ValueError: There are no vectors, `components` is not below C, 0 without `center`, or more than the directions
            in which the vectors vary.

    Source: Arora, Liang, Ma 2017, A Simple but Tough-to-Beat Baseline for Sentence Embeddings, algorithm 1, without
    centring. Mu, Viswanath 2018, All-but-the-Top, algorithm 1, centred; they write the projection of the vector before
    centring, which differs by one constant vector and leaves a constant along U.

    Example:
        >>> import torch
        >>> from polypool.text import Moments, remove_common
        >>> vectors = torch.tensor([[3.0, 1.0], [3.0, -1.0]])
        >>> remove_common(Moments().update(vectors))(vectors)
        tensor([[ 0.,  1.],
                [ 0., -1.]])
    """
    _require(moments)
    _checks.flag(center, "center")
    channels = moments.channels
    least = 0 if center else 1
    if _checks.size(components, "components", least) >= channels:
        raise ValueError(
            f"components must be below the {channels} channels; found {components}. Nothing would be left."
        )
    values, vectors = _principal(moments.covariance if center else moments.second_moment)
    rank = int((values > _least(moments)).sum())
    if rank < components:
        raise ValueError(
            f"components must be at most {rank}, the directions found in {moments.n} vectors; found {components}. "
            "Pass fewer, or more texts."
        )
    common = vectors[:, :components]
    weight = torch.eye(channels, dtype=torch.float64) - common @ common.T
    return _dense(weight, -weight @ moments.mean if center else None)


def truncation(channels: int, dimensions: int) -> Dense:
    """Keeps the first dimensions, for encoders that were trained for it (Matryoshka).

    Nothing is fitted. Put a `Normalize` behind it: the shorter vectors have no length 1 any more.

    Args:
        channels: The channels C of the vectors.
        dimensions: How many to keep, from 1 to C.

    Returns:
        `Dense` from C to `dimensions` channels, ones and zeros.

    Raises:
        TypeError: A number is no int.
        ValueError: A number is out of range.

    Source: Kusupati et al. 2022, Matryoshka Representation Learning.

    Example:
        >>> import torch
        >>> from polypool.text import truncation
        >>> truncation(3, 2)(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[1., 2.]])
    """
    kept = _dimensions(dimensions, _checks.size(channels, "channels", 1))
    return _dense(torch.eye(kept, channels, dtype=torch.float64), None)


def _principal(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues from the largest to the smallest, and the vectors as columns, their largest entry positive."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    # The sign of an eigenvector is the library's choice: without this, two machines fit two maps.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return values, vectors * torch.where(largest < 0, -1.0, 1.0)


def _least(moments: Moments) -> float:
    """The smallest variance that is more than rounding."""
    return _ROUNDING**2 * float(moments.second_moment.trace())


def _require(moments: object) -> None:
    if not isinstance(moments, Moments):
        raise TypeError(
            f"moments must be a Moments; found {type(moments).__name__}. Make them with fit_moments(encoder, texts) "
            "or Moments().update(vectors)."
        )
    if moments.n == 0:
        raise ValueError("moments must hold at least one vector; found none. Call update first.")


def _dimensions(dimensions: int | None, channels: int) -> int:
    if dimensions is None:
        return channels
    if _checks.size(dimensions, "dimensions", 1) > channels:
        raise ValueError(f"dimensions must be at most the {channels} channels; found {dimensions}.")
    return dimensions


def _dense(weight: Tensor, bias: Tensor | None) -> Dense:
    # Fitted, not trained: an optimiser that is given all parameters of an encoder leaves it alone.
    return Dense(weight.float(), None if bias is None else bias.float()).requires_grad_(False)
