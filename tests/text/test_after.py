"""What comes after pooling, against the maths written out in numpy with float64; and in a saved folder."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from polypool.text import Dense, Normalize, TextEncoder
from polypool.text.after import remove_common, truncation, whitening
from polypool.text.moments import Moments, fit_moments
from tests.support import close, normal
from tests.text import tiny

N, C = 300, 7
# Far from 0, and of very different spread along directions that are no axes.
VECTORS = (normal(N, C) * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.3, 0.1])) @ normal(C, C, seed=1) + 4.0

Array = npt.NDArray[Any]


def measured(vectors: torch.Tensor, batch: int = 64) -> Moments:
    found = Moments()
    for rows in vectors.split(batch):
        found.update(rows)
    return found


def su_et_al(x: Array, k: int) -> Array:
    """Algorithm 1, with the population covariance."""
    mean = x.mean(0)
    u, s, _ = np.linalg.svd(np.cov(x.T, bias=True))
    white: Array = (x - mean) @ (u @ np.diag(1 / np.sqrt(s)))[:, :k]
    return white


def sif(x: Array, k: int) -> Array:
    """The first right singular vectors of the vectors as they are."""
    _, _, v = np.linalg.svd(x, full_matrices=False)
    return x - x @ v[:k].T @ v[:k]


def all_but_the_top(x: Array, k: int) -> Array:
    centred = x - x.mean(0)
    _, _, v = np.linalg.svd(centred, full_matrices=False)
    return centred - centred @ v[:k].T @ v[:k]


def cosines(x: Array) -> Array:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def applied(dense: Dense, vectors: torch.Tensor = VECTORS) -> Array:
    """In float64: what float32 makes of it is tested by the folders."""
    out: Array = dense.double()(vectors).numpy()
    return out


@pytest.mark.parametrize("batch", [1, 7, 64, N])
def test_streaming_is_the_whole(batch: int) -> None:
    found, x = measured(VECTORS, batch), VECTORS.numpy()
    assert (found.n, found.channels) == (N, C)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.second_moment, x.T @ x / N, rtol=1e-12)


def test_batches_larger_than_a_block() -> None:
    vectors = normal(10_000, 3, seed=5, dtype=torch.float32) + 100
    found = Moments().update(vectors)
    wide = vectors.double().numpy()
    np.testing.assert_allclose(found.covariance, np.cov(wide.T, bias=True), rtol=1e-11, atol=1e-12)


def test_merging_is_associative_and_commutative_and_leaves_both_alone() -> None:
    a, b, c = (measured(part) for part in VECTORS.split((10, 190, 100)))
    before = (a.n, a.mean.clone(), a.scatter.clone())
    ways = [
        a.merge(b).merge(c),
        a.merge(b.merge(c)),
        c.merge(a).merge(b),
        Moments().merge(a).merge(b).merge(c),
    ]
    for way in [*ways, ways[0].merge(Moments())]:
        assert way.n == N
        np.testing.assert_allclose(way.mean, VECTORS.mean(0), rtol=1e-13)
        np.testing.assert_allclose(way.scatter, measured(VECTORS, N).scatter, rtol=1e-11, atol=1e-10)
    assert a.n == before[0]
    assert torch.equal(a.mean, before[1])
    assert torch.equal(a.scatter, before[2])
    ways[3].update(VECTORS)
    assert a.n == before[0], "a merged state shares nothing with its parts"


def test_vectors_far_from_zero_keep_their_covariance() -> None:
    """`E x^2 - (E x)^2` would lose all sixteen digits here."""
    spread = normal(1000, 3, seed=2)
    found = measured(spread + 1e8, 100).covariance
    np.testing.assert_allclose(found, np.cov(spread.numpy().T, bias=True), atol=1e-6)


def test_a_state_can_be_sent_to_another_process() -> None:
    found = pickle.loads(pickle.dumps(measured(VECTORS)))
    assert torch.equal(found.merge(Moments()).scatter, measured(VECTORS).scatter)


def test_numpy_and_half_precision_and_no_rows() -> None:
    half = VECTORS.to(torch.bfloat16)
    expected = np.cov(half.double().numpy().T, bias=True)
    np.testing.assert_allclose(Moments().update(half).covariance, expected, rtol=1e-11, atol=1e-12)
    found = Moments().update(half.float().numpy()).update(np.zeros((0, C), np.float32))
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-11, atol=1e-12)
    assert found.n == N


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_with_its_row_and_adds_nothing(wrong: float) -> None:
    found = measured(VECTORS[:100])
    bad = VECTORS[100:].clone()
    bad[17, 2] = wrong
    with pytest.raises(ValueError, match="NaN or inf in row 17 of this batch, vector 117 of all"):
        found.update(bad)
    assert found.n == 100
    assert torch.equal(found.scatter, measured(VECTORS[:100]).scatter)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: measured(VECTORS).update(VECTORS[:, :5]), ValueError, "must have the 7 channels .* found 5"),
        (lambda: Moments().update(VECTORS[0]), ValueError, r"vectors must have shape \(N, C\)"),
        (lambda: Moments().update(torch.ones(2, 3).int()), TypeError, "vectors must be of a floating dtype"),
        (lambda: measured(VECTORS).merge(measured(VECTORS[:, :5])), ValueError, "must have 7 channels; found 5"),
        (lambda: measured(VECTORS).merge(VECTORS), TypeError, "other must be a Moments; found Tensor"),  # type: ignore[arg-type]
        (lambda: whitening(Moments()), ValueError, "moments must hold at least one vector"),
        (lambda: whitening(VECTORS), TypeError, "moments must be a Moments; found Tensor"),  # type: ignore[arg-type]
        (lambda: whitening(measured(VECTORS), 8), ValueError, "at most the 7 channels; found 8"),
        (lambda: whitening(measured(VECTORS), 0), ValueError, "dimensions must be >= 1"),
        (lambda: whitening(measured(VECTORS), eps=-1.0), ValueError, "eps must be >= 0 and finite"),
        (lambda: whitening(measured(VECTORS), eps=math.nan), ValueError, "eps must be >= 0 and finite"),
        (lambda: whitening(measured(VECTORS), eps="1"), TypeError, "eps must be a number; found str"),  # type: ignore[arg-type]
        (lambda: remove_common(measured(VECTORS), 7), ValueError, "components must be below the 7 channels"),
        (lambda: remove_common(measured(VECTORS), 0), ValueError, "components must be >= 1; found 0"),
        (lambda: remove_common(measured(VECTORS), 1.0), TypeError, "components must be an int"),  # type: ignore[arg-type]
        (lambda: remove_common(measured(VECTORS), center=1), TypeError, "center must be a bool"),  # type: ignore[arg-type]
        (lambda: truncation(4, 5), ValueError, "dimensions must be at most the 4 channels; found 5"),
        (lambda: truncation(4, 0), ValueError, "dimensions must be >= 1"),
    ],
)  # fmt: skip
def test_what_cannot_be(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("k", [1, 3, C])
def test_whitening_is_that_of_su_et_al(k: int) -> None:
    found = applied(whitening(measured(VECTORS), k))
    assert found.shape == (N, k)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.T @ found / N, np.eye(k), atol=1e-5)
    expected = su_et_al(VECTORS.numpy(), k)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)  # the sign of a direction is free
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=2e-4)


def test_regularised_whitening() -> None:
    x, eps = VECTORS.numpy(), 0.1
    values, directions = np.linalg.eigh(np.cov(x.T, bias=True))
    expected = (x - x.mean(0)) @ directions / np.sqrt(values + eps * values.mean())
    found = applied(whitening(measured(VECTORS), eps=eps))
    np.testing.assert_allclose(np.abs(found), np.abs(expected[:, ::-1]), atol=1e-4)


def test_the_sign_of_a_direction_does_not_depend_on_who_computes_it() -> None:
    weight = whitening(measured(VECTORS)).weight
    assert bool((weight.gather(1, weight.abs().argmax(1, keepdim=True)) > 0).all())


@pytest.mark.parametrize("k", [1, 2, 5])
def test_removal_is_that_of_arora_et_al(k: int) -> None:
    found = remove_common(measured(VECTORS), k)
    assert found.bias is None
    np.testing.assert_allclose(applied(found), sif(VECTORS.numpy(), k), atol=1e-5)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_removal_is_that_of_mu_and_viswanath(k: int) -> None:
    found = applied(remove_common(measured(VECTORS), k, center=True))
    np.testing.assert_allclose(found, all_but_the_top(VECTORS.numpy(), k), atol=1e-5)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)


def test_truncation_keeps_the_first() -> None:
    close(truncation(C, 3).double()(VECTORS), VECTORS[:, :3])
    close(truncation(C, C).double()(VECTORS), VECTORS)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_fewer_vectors_than_dimensions(number: int) -> None:
    """n vectors vary in n - 1 directions: more cannot be whitened without a floor."""
    few = measured(VECTORS[:number].float())
    if number == 1:
        for eps in (0.0, 1e-3):
            with pytest.raises(ValueError, match="needs vectors that differ; found 1 that do not"):
                whitening(few, eps=eps)
        return
    with pytest.raises(
        ValueError, match=f"found {number - 1}, in {number} vectors. Pass dimensions={number - 1}"
    ):
        whitening(few)
    white = applied(whitening(few, number - 1), VECTORS[:number])
    np.testing.assert_allclose(white.T @ white / number, np.eye(number - 1), atol=1e-4)
    floored = applied(whitening(few, eps=1e-3), VECTORS[:number])
    assert np.isfinite(floored).all()
    assert np.linalg.eigvalsh(floored.T @ floored / number).max() < 1 + 1e-6


def test_channels_that_depend_on_each_other() -> None:
    """Rounding of float32 must not be taken for a direction in which the vectors vary."""
    flat = (VECTORS[:, :3].float() @ normal(3, C, seed=9).float()) * 37.0 + 1000.0
    with pytest.raises(ValueError, match=f"as many directions; found 3, in {N} vectors. Pass dimensions=3"):
        whitening(measured(flat))
    with pytest.raises(ValueError, match="components must be at most 4, the directions found"):
        remove_common(measured(flat), 5)
    white = applied(whitening(measured(flat), 3), flat.double())
    np.testing.assert_allclose(white.T @ white / N, np.eye(3), atol=1e-3)


def test_constant_vectors() -> None:
    same = measured(torch.ones(5, C))
    with pytest.raises(ValueError, match="needs vectors that differ; found 5 that do not"):
        whitening(same, 1)
    np.testing.assert_allclose(applied(remove_common(same), torch.ones(2, C).double()), 0, atol=1e-6)
    with pytest.raises(ValueError, match="at most 0"):
        remove_common(same, 1, center=True)


def test_a_fitted_map_is_not_trained_further() -> None:
    assert not any(p.requires_grad for p in whitening(measured(VECTORS)).parameters())


TEXTS = [
    f"{a} {b} {c}"
    for a in ("the cat", "a dog", "an old bank")
    for b in ("runs", "boils")
    for c in ("on", "in", ".")
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain") / "model")


def after(moments: Moments, name: str) -> Dense:
    made = {
        "whitening": lambda: whitening(moments, 6),
        "regularised": lambda: whitening(moments, eps=1e-2),
        "sif": lambda: remove_common(moments),
        "all-but-the-top": lambda: remove_common(moments, 2, center=True),
        "truncation": lambda: truncation(tiny.HIDDEN, 5),
    }
    return made[name]()


def test_fitting_on_a_generator_is_fitting_on_all_vectors(plain: Path) -> None:
    encoder = TextEncoder.load(plain, pool="mean")
    found = fit_moments(encoder, (text for text in TEXTS))
    x = encoder.encode(TEXTS, as_tensor=True).double().numpy()
    assert found.n == len(TEXTS)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), atol=1e-6)
    with pytest.raises(ValueError, match="texts must hold at least one text"):
        fit_moments(encoder, [])
    with pytest.raises(TypeError, match="str"):
        fit_moments(encoder, ["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="texts must be several texts"):
        fit_moments(encoder, "a cat")
    encoder.truncate = 4
    with pytest.raises(ValueError, match=r"encoder\.truncate must be None; found 4"):
        fit_moments(encoder, TEXTS)


@pytest.mark.parametrize("name", ["whitening", "regularised", "sif", "all-but-the-top", "truncation"])
def test_a_saved_folder_needs_no_polypool(plain: Path, tmp_path: Path, name: str) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = TextEncoder.load(plain, pool="mean")
    before = encoder.encode(TEXTS, as_tensor=True).double().numpy()
    encoder.append(after(fit_moments(encoder, TEXTS), name)).append(Normalize())
    encoder.save(tmp_path / "saved")
    ours = encoder.encode(TEXTS)
    expected = {
        "whitening": lambda: su_et_al(before, 6),
        "regularised": lambda: None,
        "sif": lambda: sif(before, 1),
        "all-but-the-top": lambda: all_but_the_top(before, 2),
        "truncation": lambda: before[:, :5],
    }[name]()
    if expected is not None:
        np.testing.assert_allclose(cosines(ours), cosines(expected), atol=1e-4)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert [type(module).__name__ for module in theirs][2:] == ["Dense", "Normalize"]
    # Whitening magnifies the rounding of the encoder, which depends on how texts are batched.
    np.testing.assert_allclose(theirs.encode(TEXTS), ours, atol=1e-5)
    again = TextEncoder.load(tmp_path / "saved")
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)
