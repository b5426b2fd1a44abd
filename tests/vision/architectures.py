"""Small models with random weights to operate on: those of transformers, and one like torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.support import normal

CLASSES = 5


def images(size: int = 32, seed: int = 0) -> Tensor:
    return normal(2, 3, size, size, seed=seed, dtype=torch.float32)


def logits(model: nn.Module, x: Tensor | None = None) -> Tensor:
    """What a model says in evaluation mode; it is left as it was."""
    training = model.training
    with torch.no_grad():
        out = model.eval()(images() if x is None else x)
    model.train(training)
    found: Tensor = getattr(out, "logits", out)
    return found


def seeded(model: nn.Module, seed: int = 0) -> Any:
    """Random weights and statistics, so that nothing is 0, 1 or symmetric by accident."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                noise = noise.abs() + 0.5
            elif tensor.dim() > 1:
                noise = noise / tensor[0].numel() ** 0.5
            tensor.data.copy_(noise)
    return model


def resnet() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=CLASSES
    )
    return seeded(ResNetForImageClassification(config))


def regnet() -> Any:
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        groups_width=8,
        layer_type="y",
        num_labels=CLASSES,
    )
    return seeded(RegNetForImageClassification(config))


def efficientnet() -> Any:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        image_size=32,
        width_coefficient=0.0125,
        depth_coefficient=1.0,
        kernel_sizes=[3, 3],
        in_channels=[8, 8],
        out_channels=[8, 8],
        strides=[1, 2],
        num_block_repeats=[1, 1],
        expand_ratios=[1, 2],
        depthwise_padding=[],
        hidden_dim=16,
        num_labels=CLASSES,
    )
    return seeded(EfficientNetForImageClassification(config))


def convnext() -> Any:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], image_size=32, num_labels=CLASSES
    )
    return seeded(ConvNextForImageClassification(config))


def vit() -> Any:
    from transformers import ViTForImageClassification

    return seeded(ViTForImageClassification(_vit_config()))


def vit_with_pooler() -> Any:
    """A ViT whose pooler reads the first token."""
    from transformers import ViTModel

    return seeded(ViTModel(_vit_config()))


def _vit_config() -> Any:
    from transformers import ViTConfig

    return ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        num_labels=CLASSES,
    )


def siglip() -> Any:
    from transformers import SiglipConfig, SiglipForImageClassification

    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 32,
        "patch_size": 8,
    }
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 10,
    }
    return seeded(
        SiglipForImageClassification(SiglipConfig(vision_config=vision, text_config=text, num_labels=CLASSES))
    )


class Block(nn.Module):
    """A residual block as in torchvision, with the squeeze of its EfficientNets."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Squeeze(nn.Module):
    """A Squeeze-and-Excitation layer as in torchvision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class ResNet(nn.Module):
    """torchvision's, with two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 8), Squeeze(8))
        self.layer2 = nn.Sequential(Block(8, 16, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def by_hand() -> Any:
    return seeded(ResNet())


MODELS: dict[str, Callable[[], Any]] = {
    "by_hand": by_hand,
    "resnet": resnet,
    "regnet": regnet,
    "efficientnet": efficientnet,
    "convnext": convnext,
    "vit": vit,
    "siglip": siglip,
}
