"""Small networks of random weights whose decisions get explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp

CHANNELS, CLASSES = 8, 5


def body() -> nn.Sequential:
    """A feature map `(B, 8, H / 2, W / 2)`, with Squeeze-and-Excitation inside."""
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(inplace=True),
        pp.blocks.SqueezeExcite(CHANNELS, 2),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.SiLU(),
    )


class Headed(nn.Module):
    """A body, and a function of it and its own linear layer as the head."""

    def __init__(
        self, head: Callable[[Any, Tensor], Tensor], width: int = CHANNELS, **parts: nn.Module
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = body()
        self.fc = nn.Linear(width, CLASSES)
        self.head = head
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self, self.body(image))


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


#: Heads that are a pooling and something linear, however it is written.
LINEAR: dict[str, Callable[[], nn.Module]] = {
    "adaptive pooling": lambda: nn.Sequential(
        body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(CHANNELS, CLASSES)
    ),
    "adaptive max": lambda: nn.Sequential(
        body(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)
    ),
    "average over the whole map": lambda: nn.Sequential(
        body(), nn.AvgPool2d((8, 6)), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)
    ),
    "a kernel larger than the map": lambda: nn.Sequential(
        body(), nn.AvgPool2d(64, ceil_mode=True), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)
    ),
    "mean": lambda: Headed(lambda m, x: m.fc(x.mean((2, 3)))),
    "mean, dimensions kept": lambda: Headed(lambda m, x: m.fc(x.mean((-1, -2), keepdim=True).flatten(1))),
    "mean, one dimension at a time": lambda: Headed(lambda m, x: m.fc(x.mean(3).mean(2))),
    "mean of the flattened map": lambda: Headed(lambda m, x: m.fc(x.flatten(2).mean(-1))),
    "mean, channels last": lambda: Headed(lambda m, x: m.fc(x.permute(0, 2, 3, 1).mean((1, 2)))),
    "mean over tokens": lambda: Headed(lambda m, x: m.fc(x.flatten(2).transpose(1, 2).mean(1))),
    "sum": lambda: Headed(lambda m, x: m.fc(x.sum((2, 3)) / 48)),
    "maximum": lambda: Headed(lambda m, x: m.fc(x.amax((2, 3)))),
    "maximum, one dimension at a time": lambda: Headed(lambda m, x: m.fc(x.max(3).values.max(2)[0])),
    "mean beside maximum": lambda: Headed(
        lambda m, x: m.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)), 2 * CHANNELS
    ),
    "1 x 1 convolution": lambda: nn.Sequential(
        body(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, CLASSES, 1), nn.Flatten()
    ),
    "two linear layers": lambda: nn.Sequential(
        body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3), nn.Linear(3, CLASSES)
    ),
    "batch normalisation": lambda: nn.Sequential(
        body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(CHANNELS), nn.Linear(CHANNELS, CLASSES)
    ),
    "matrix product": lambda: Headed(lambda m, x: x.mean((2, 3)) @ m.fc.weight.T * 2 - 1),
    "a sum inside the head": lambda: Headed(lambda m, x: (x.mean((2, 3)).unsqueeze(1) * m.fc.weight).sum(-1)),
    "pooled class maps": lambda: nn.Sequential(
        body(), nn.Conv2d(CHANNELS, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "Pooling": lambda: nn.Sequential(body(), pp.build("mean+max+std"), nn.Linear(3 * CHANNELS, CLASSES)),
    "Pooling by attention": lambda: nn.Sequential(
        body(), pp.build("attention", channels=CHANNELS, heads=2), nn.Linear(CHANNELS, CLASSES)
    ),
    "Pooling of tokens": lambda: Headed(
        lambda m, x: m.fc(m.pool(pp.Tokens(x.flatten(2).transpose(1, 2)))), pool=pp.build("top_k")
    ),
    "a pyramid of bins": lambda: Headed(
        lambda m, x: m.fc(torch.cat([m.pool(pp.Grid(x).bins(n)).flatten(1) for n in (1, 2)], 1)),
        5 * CHANNELS,
        pool=pp.build("max"),
    ),
}

#: Heads that are not, and what the refusal has to say.
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "flattened": (
        lambda: nn.Sequential(body(), nn.Flatten(), nn.Linear(48 * CHANNELS, CLASSES)),
        r"the head flattens a map of shape \(2, 8, 8, 6\) instead of pooling it",
    ),
    "flattened, two layers": (
        lambda: nn.Sequential(
            body(), nn.Flatten(), nn.Linear(48 * CHANNELS, 7), nn.ReLU(), nn.Linear(7, CLASSES)
        ),
        "no pooling of a whole map leads to the logits, and the head is not linear: it ends behind relu",
    ),
    "pooled to 2 x 2": (
        lambda: nn.Sequential(
            body(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * CHANNELS, CLASSES)
        ),
        "the head flattens a map",
    ),
    "two layers": (
        lambda: nn.Sequential(
            body(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(CHANNELS, 7),
            nn.GELU(),
            nn.Linear(7, CLASSES),
        ),
        r'the head is not linear: gelu stands between the pooling and the logits.* Name method="gradient"',
    ),
    "layer normalisation": (
        lambda: Headed(lambda m, x: m.fc(_layer_norm(x.mean((2, 3))))),
        'the head is not linear: layer_norm .* method="frozen"',
    ),
    "a way around": (
        lambda: Headed(lambda m, x: m.fc(x.mean((2, 3))) + m.fc(x.mean((2, 3)).tanh())),
        "the head is not linear: tanh",
    ),
    "around a Pooling": (
        lambda: Headed(lambda m, x: (lambda p: m.fc(p) * m.fc(p))(m.pool(x)), pool=pp.build("mean")),
        "the head is not linear: mul",
    ),
    "softmax": (
        lambda: Headed(lambda m, x: m.fc(x.mean((2, 3))).softmax(1)),
        "the head is not linear: softmax",
    ),
    "GeM by hand": (
        lambda: Headed(lambda m, x: m.fc(x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))),
        "the head is not linear: pow",
    ),
    "one token": (
        lambda: Headed(lambda m, x: m.fc(_layer_norm(x.flatten(2).transpose(1, 2))[:, 3])),
        r"the head reads 1 of 48 positions alone, the first of them at \(3,\)",
    ),
    "detached": (
        lambda: Headed(lambda m, x: m.fc(x.mean((2, 3)).detach())),
        "the head is not linear: detach",
    ),
    "no gradient": (
        lambda: Headed(torch.no_grad()(lambda m, x: m.fc(x.mean((2, 3))))),
        "the model computes without gradients .* call contributions with the features",
    ),
    "maps of two sizes": (
        lambda: Headed(
            lambda m, x: m.fc(torch.cat([x.mean((2, 3)), F.max_pool2d(x, 2).relu().mean((2, 3))], 1)),
            2 * CHANNELS,
        ),
        "the head pools maps of several sizes, the outputs of body, no module. Name one of them: layer=",
    ),
    "no logits": (
        lambda: Headed(lambda m, x: x),
        r"the logits must have shape \(B, K\); found \(2, 8, 8, 6\)",
    ),
    "a list": (lambda: Headed(lambda m, x: []), "the model must give logits.*; found list"),  # type: ignore[arg-type, return-value]
}


def transformer(kind: str) -> nn.Module:
    """A random model of the transformers library, small, for images of 64 x 48 (square ones for some)."""
    import transformers as tf

    tf.logging.set_verbosity_error()
    torch.manual_seed(2)
    tokens: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
    }  # fmt: skip
    stages: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1]}
    n: dict[str, Any] = {"num_labels": CLASSES}
    wide = {**tokens, "intermediate_size": 32}
    makers: dict[str, Callable[[], nn.Module]] = {
        "resnet": lambda: tf.ResNetForImageClassification(
            tf.ResNetConfig(embedding_size=8, layer_type="basic", **stages, **n)
        ),
        "regnet": lambda: tf.RegNetForImageClassification(
            tf.RegNetConfig(embedding_size=8, groups_width=8, **stages, **n)
        ),
        "efficientnet": lambda: tf.EfficientNetForImageClassification(
            tf.EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320, **n)
        ),
        "mobilenet": lambda: tf.MobileNetV2ForImageClassification(
            tf.MobileNetV2Config(depth_multiplier=0.25, **n)
        ),
        "swin": lambda: tf.SwinForImageClassification(
            tf.SwinConfig(
                embed_dim=8, depths=[1, 1], num_heads=[2, 2], image_size=64, patch_size=4, window_size=4, **n
            )
        ),
        "siglip": lambda: tf.SiglipForImageClassification(tf.SiglipConfig(vision_config=wide, **n)),
        "dinov2": lambda: tf.Dinov2ForImageClassification(tf.Dinov2Config(mlp_ratio=2, **tokens, **n)),
        "dinov2 with registers": lambda: tf.Dinov2WithRegistersForImageClassification(
            tf.Dinov2WithRegistersConfig(mlp_ratio=2, num_register_tokens=4, **tokens, **n)
        ),
        "convnext": lambda: tf.ConvNextForImageClassification(tf.ConvNextConfig(num_stages=2, **stages, **n)),
        "beit": lambda: tf.BeitForImageClassification(tf.BeitConfig(out_indices=[1, 2], **wide, **n)),
        "vit": lambda: tf.ViTForImageClassification(tf.ViTConfig(**{**wide, "image_size": (64, 48)}, **n)),
    }
    model = makers[kind]()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0 if parameter.dim() > 1 else 0.5, 0.15)
    return model
