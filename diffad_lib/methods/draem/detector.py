"""DRAEM (Zavrtanik, Kristan, Skočaj, ICCV 2021; arXiv 2108.07610): reconstruct, then segment."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.losses import softmax_focal_loss, ssim
from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.networks.segmentation import Encoder, SegmentationNetwork, double_conv, up_conv
from diffad_lib.scores import smoothed_maximum
from diffad_lib.types import Prediction, TrainingBatch


class ReconstructiveDecoder(nn.Module):
    """Four times up, without skip connections; then a 3x3 convolution to the image."""

    def __init__(self, base_width: int) -> None:
        super().__init__()
        w = base_width
        self.up1, self.db1 = up_conv(8 * w, 8 * w), double_conv(8 * w, 8 * w, 4 * w)
        self.up2, self.db2 = up_conv(4 * w, 4 * w), double_conv(4 * w, 4 * w, 2 * w)
        self.up3, self.db3 = up_conv(2 * w, 2 * w), double_conv(2 * w, 2 * w, w)
        self.up4, self.db4 = up_conv(w, w), double_conv(w, w, w)
        self.fin_out = nn.Sequential(nn.Conv2d(w, 3, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.children():  # in the order of definition
            h = layer(h)
        return h


class ReconstructiveNetwork(nn.Module):
    """[B,3,H,W] -> [B,3,H,W], not clamped; H and W multiples of 16. Names as in official files."""

    def __init__(self, base_width: int = 128) -> None:
        super().__init__()
        self.encoder = Encoder(3, [base_width * multiplier for multiplier in (1, 2, 4, 8, 8)])
        self.decoder = ReconstructiveDecoder(base_width)

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image)[-1])


class Draem(Detector):
    """The DRAEM detector."""

    settings: DraemSettings

    def __init__(self, settings: DraemSettings) -> None:
        super().__init__(settings)
        self.reconstruction = ReconstructiveNetwork(settings.base_width)
        self.segmentation = SegmentationNetwork(6, 2, settings.segmentation_width)
        self.apply(initialise)

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """total = l2 + ssim + focal (paper eq. 1 to 3); "ssim" is 1 - SSIM."""
        reconstruction, logits = self(batch.image)
        terms = {
            "l2": F.mse_loss(reconstruction.float(), batch.normal),
            "ssim": 1 - ssim(reconstruction, batch.normal),
            "focal": softmax_focal_loss(logits, batch.mask),
        }
        return {"total": terms["l2"] + terms["ssim"] + terms["focal"], **terms}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """anomaly_map: softmax probability of the anomalous class. Draws no random number."""
        self.check_images(images)
        return self.judge(images, self.reconstruction(images))

    def judge(self, images: Tensor, reconstruction: Tensor) -> Prediction:
        logits = self.segmentation(torch.cat([reconstruction, images], dim=1))
        anomaly_map = logits.float().softmax(dim=1)[:, 1:]  # [B,1,H,W]
        return Prediction(
            smoothed_maximum(anomaly_map, self.settings.score_window),
            anomaly_map,
            reconstruction.float().clamp(0, 1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image [B,3,H,W] -> reconstruction [B,3,H,W] (not clamped) and logits [B,2,H,W]."""
        reconstruction = self.reconstruction(image)
        return reconstruction, self.segmentation(torch.cat([reconstruction, image], dim=1))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {name: list(network.parameters()) for name, network in self.named_children()}


def initialise(module: nn.Module) -> None:
    """Convolutions N(0, 0.02), batch norms N(1, 0.02) with bias 0 (train_DRAEM.py)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
