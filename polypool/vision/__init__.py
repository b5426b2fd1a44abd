"""What only images, signals and volumes have: pixels with neighbours."""

from polypool.vision.blur import BlurPool
from polypool.vision.gradient_energy import GradientEnergy, differences
from polypool.vision.max_blur import MaxBlurPool

__all__ = ["BlurPool", "GradientEnergy", "MaxBlurPool", "differences"]
