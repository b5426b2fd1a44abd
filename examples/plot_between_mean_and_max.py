"""
Between mean and max
====================

How much should one bright spot count? A mean forgets it in a large image, and a maximum forgets everything
else. ``logsumexp`` and ``power`` go from one to the other with a number. Here the same pooling objects see the
same numbers as an image, as a sentence and as a graph, and say the same.
"""

from typing import Any

import matplotlib.pyplot as plt
import torch

import polypool as pp

# %%
# A noisy image with a spot of nine pixels.

generator = torch.Generator().manual_seed(0)
image = torch.rand(1, 1, 24, 24, generator=generator)
image[..., 6:9, 14:17] += 3

pixels = image.flatten(1)[..., None]  # (1, 576, 1)
layouts: dict[str, pp.Layout] = {
    "image": pp.Grid(image),
    "sentence": pp.Tokens(pixels),
    "graph": pp.Nodes(pixels[0]),
}

# %%
# The temperature of ``logsumexp`` leads from the maximum (small) to the mean (large); the exponent of ``power``
# leads from the mean (1) to the maximum (large).

temperatures = torch.logspace(-2, 2, 41).tolist()
exponents = torch.logspace(0, 2.5, 41).tolist()


def results(name: str, setting: str, values: list[float], layout: pp.Layout) -> list[float]:
    """One pooling at many settings."""
    return [pp.build(name, **{setting: value})(layout).item() for value in values]


fig, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
axes[0].imshow(image[0, 0], cmap="gray")
axes[0].set_axis_off()
styles: dict[str, dict[str, Any]] = {
    "image": dict(lw=5, alpha=0.3),
    "sentence": dict(lw=2, ls="--"),
    "graph": dict(lw=1, color="k", ls=":"),
}
panels = [("logsumexp", "t", temperatures), ("power", "p", exponents)]
for ax, (name, setting, values) in zip(axes[1:], panels, strict=True):
    for kind, layout in layouts.items():
        ax.semilogx(values, results(name, setting, values, layout), label=kind, **styles[kind])
    for end in ("mean", "max"):
        ax.axhline(pp.build(end)(layouts["image"]).item(), color="0.7", lw=0.8)
    ax.set(title=name, xlabel=setting)
axes[1].legend()
plt.show()
