"""The namespace of our operations in torch."""

import torch

library = torch.library.Library("polypool", "FRAGMENT")
