"""The baseline: a plain convolutional autoencoder that is trained on normal images only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.methods.method import Method
from diffad_lib.networks.segmentation import conv_block, up_conv
from diffad_lib.plans import MINI, Budget, TrainingSettings
from diffad_lib.scores import Window, smoothed_maximum
from diffad_lib.settings import DetectorSettings, setting
from diffad_lib.synthesis.synthesizer import NormalSettings
from diffad_lib.types import Prediction, TrainingBatch


class AutoencoderSettings(DetectorSettings):
    """Sizes of the autoencoder and the window of its image score.

    A code of many numbers, bottleneck x (image_size / 16)^2, lets anomalies through; of few, blurs.
    """

    image_size: int = setting(256, "side of the images, pixels", ge=16, le=4096, multiple_of=16)
    base_width: int = setting(64, "channels at half size; they double three times", ge=1, le=1024)
    bottleneck: int = setting(128, "channels of the code", ge=1, le=8192)
    score_window: Window = 21


class Autoencoder(Detector):
    """Encoder to 1/16 of the size, a code of `bottleneck` channels, decoder; no skips."""

    settings: AutoencoderSettings

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__(settings)
        base_width, bottleneck = settings.base_width, settings.bottleneck
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
        self.check_images(images)
        return self.judge(images, self(images).float().clamp(0, 1))

    def judge(self, images: Tensor, reconstruction: Tensor) -> Prediction:
        anomaly_map = (images - reconstruction).abs().mean(dim=1, keepdim=True)  # [B,1,H,W]
        return Prediction(
            smoothed_maximum(anomaly_map, self.settings.score_window), anomaly_map, reconstruction
        )

    def forward(self, image: Tensor) -> Tensor:
        """image [B,3,H,W] -> reconstruction [B,3,H,W], not clamped."""
        return self.decoder(self.encoder(image))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"reconstruction": list(self.parameters())}


_LAPTOP = Budget(
    detector=AutoencoderSettings(image_size=128, base_width=32, score_window=11),
    synthesis=NormalSettings(lighting=0.1),
    training=TrainingSettings(
        steps=1500, learning_rate=1e-3, lr_schedule="cosine", precision="auto", channels_last=True
    ),
)

METHOD = Method(
    title="Autoencoder",
    detector=Autoencoder,
    settings=AutoencoderSettings,
    budgets={
        "mini": _LAPTOP.with_settings({**MINI, "steps": 150, "score_window": 5}),
        "laptop": _LAPTOP,
        "paper": Budget(
            detector=AutoencoderSettings(),
            synthesis=NormalSettings(),
            training=TrainingSettings(epochs=700, channels_last=True),
        ),
    },
)
