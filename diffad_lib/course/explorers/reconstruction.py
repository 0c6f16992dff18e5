"""What the explorers of reconstructions share: their noise, their network, their errors."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.course.explorers.pictures import Range
from diffad_lib.diffusion.process import NoisePredictor
from diffad_lib.diffusion.schedule import Schedule


class Diffusion(NamedTuple):
    """A schedule, its network, and the range of the images that the network is fed."""

    schedule: Schedule
    denoise: NoisePredictor
    value_range: Range = (0, 1)


def noise_like(x_0: Tensor, seed: int) -> Tensor:
    """N(0, I) shaped like x_0, the same for the same seed on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(x_0.shape, generator=generator).to(x_0.device)


def remembering(model: NoisePredictor) -> NoisePredictor:
    """The model without gradients, called once for every different (x_t, t) of a batch.

    A grid of settings asks for the same few predictions again and again.
    """
    known: dict[tuple[int, bytes], Tensor] = {}

    @torch.no_grad()
    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        predictions = []
        for x, step in zip(x_t, t, strict=True):
            key = int(step), x.cpu().numpy().tobytes()
            if key not in known:
                known[key] = model(x[None], step[None])
            predictions.append(known[key])
        return torch.cat(predictions)

    return predict


def residual(x_0: Tensor, reconstruction: Tensor, value_range: Range) -> NDArray[np.float32]:
    """[H,W]: |x_0 − x̂_0| of two images [1,3,H,W], mean of the channels, 1 = the whole range."""
    low, high = value_range
    difference = (x_0 - reconstruction).abs().mean(dim=1)[0] / (high - low)
    return difference.detach().cpu().numpy()


def error_text(residuals: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> str:
    """The mean residual [H,W], or one for each side of a mask [H,W]."""
    if mask is None:
        return f"{residuals.mean():.3f}"
    return f"{residuals[~mask].mean():.3f} (normal), {residuals[mask].mean():.3f} (defect)"
