"""What is special to power means."""

import torch

import polypool as pp


def test_the_root_mean_square_is_smooth_at_zero() -> None:
    """After a ReLU many elements are exactly 0: the curvature there is that of the norm, and not 0."""
    x = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    hessian = torch.func.hessian(lambda rows: pp.build("rms")(pp.Nodes(rows)).sum())(x)[:, 0, :, 0]
    # rms = |x| / sqrt(2); its second derivative across x, at |x| = 3, is 1 / (3 sqrt(2)).
    assert torch.allclose(hessian, torch.tensor([[1 / (3 * 2**0.5), 0.0], [0.0, 0.0]], dtype=torch.float64))
