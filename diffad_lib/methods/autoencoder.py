"""The baseline: a plain convolutional autoencoder that is trained on normal images only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.methods.draem.detector import checked_window, smoothed_maximum
from diffad_lib.networks.segmentation import conv_block, up_conv
from diffad_lib.types import Prediction, TrainingBatch


class Autoencoder(Detector):
    """Encoder to 1/16 of the size, a code of `bottleneck` channels, decoder; no skips.

    The code holds bottleneck x (image_size / 16)^2 numbers: a wide one lets anomalies through, a
    narrow one blurs normal detail. image_size: in pixels, a multiple of 16. base_width: channels
    at half size; they double three times. score_window: as DRAEM's.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_width: int = 64,
        bottleneck: int = 128,
        score_window: int = 21,
    ) -> None:
        super().__init__()
        if image_size % 16:
            raise DiffadError(f"image_size {image_size} must be a multiple of 16 here")
        self.settings = {
            "image_size": image_size,
            "base_width": base_width,
            "bottleneck": bottleneck,
            "score_window": score_window,
        }
        self.score_window = checked_window(score_window)
        widths = [base_width * multiplier for multiplier in (1, 2, 4, 8)]
        encoder: list[nn.Module] = []
        for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True):
            encoder += [*conv_block(inputs, outputs), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(widths[-1], bottleneck, 1))
        decoder = [
            up_conv(inputs, outputs)
            for inputs, outputs in zip([bottleneck, *widths[:0:-1]], widths[::-1], strict=True)
        ]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(widths[0], 3, 3, padding=1))

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """total = l2, the mean squared error of the reconstruction of the normal images."""
        l2 = F.mse_loss(self(batch.normal).float(), batch.normal)
        return {"total": l2, "l2": l2}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """anomaly_map: absolute residual, averaged over the channels; in [0,1].

        image_score: maximum of the map averaged over windows, DRAEM's rule, so that the two
        methods differ in the map alone. Draws no random number.
        """
        reconstruction = self(images).float().clamp(0, 1)
        anomaly_map = (images - reconstruction).abs().mean(dim=1, keepdim=True)  # [B,1,H,W]
        return Prediction(
            smoothed_maximum(anomaly_map, self.score_window), anomaly_map, reconstruction
        )

    def forward(self, image: Tensor) -> Tensor:
        """image [B,3,H,W] -> reconstruction [B,3,H,W], not clamped."""
        return self.decoder(self.encoder(image))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"reconstruction": list(self.parameters())}
