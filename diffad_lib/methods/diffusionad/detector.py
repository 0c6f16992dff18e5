"""DiffusionAD (Zhang et al., arXiv 2303.08730): norm-guided denoising, then segmentation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.diffusion.denoising import (
    NoiseLevel,
    NormGuided,
    norm_guided_one_step,
    norm_guided_training,
    random_levels,
)
from diffad_lib.diffusion.process import predict_eps_from_x0
from diffad_lib.diffusion.schedule import Schedule, cosine_betas, linear_betas, min_snr_weights
from diffad_lib.errors import DiffadError
from diffad_lib.losses import sigmoid_focal_loss
from diffad_lib.methods.diffusionad.settings import DiffusionADSettings
from diffad_lib.networks.segmentation import SegmentationNetwork
from diffad_lib.networks.unet import UNet
from diffad_lib.scores import highest_mean
from diffad_lib.types import Prediction, TrainingBatch

PREDICTION_SEED = 0
_NOTHING = -4.0  # logit of a pixel about which nothing is known: 2 %, the share of anomalies
BETAS = {"linear": linear_betas, "cosine": cosine_betas}


class DiffusionAD(Detector):
    """The DiffusionAD detector."""

    settings: DiffusionADSettings

    def __init__(self, settings: DiffusionADSettings) -> None:
        super().__init__(settings)
        self.schedule = Schedule.from_betas(BETAS[settings.beta_schedule](settings.timesteps))
        predicts_image = settings.prediction == "x0"
        self.loss_weights = min_snr_weights(self.schedule) if predicts_image else None
        self.denoising = UNet(settings)
        self.segmentation = SegmentationNetwork(6, 1, settings.segmentation_width)

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """total = noise + 5 focal + smooth_l1 (train.py); batch.generator must be set.

        Two more terms, which are not published, make the score need the reconstruction: "repair"
        asks for the normal image, "no_discrepancy" for nothing where there is nothing to compare.
        "noise" is over the images without an anomaly (eq. 9). The gradient of the other two
        reaches the denoising network through the reconstruction.
        """
        if batch.generator is None:
            raise ValueError("DiffusionAD draws times and noises: set TrainingBatch.generator")
        x_0, settings = self._to_diffusion(batch.image), self.settings
        ranges = settings.less_t_range, batch.generator, settings.noisier_t_range
        levels = random_levels(self.schedule, x_0, *ranges)
        given = x_0, batch.is_anomalous, levels, settings.guidance_weight, self.loss_weights
        noise_loss, guided = norm_guided_training(self.schedule, self.predict_noise, *given)
        logits = self.segment(batch.image, self._from_diffusion(guided.pred_x0_norm_guided))
        terms = {
            "noise": noise_loss,
            "focal": sigmoid_focal_loss(logits, batch.mask),
            "smooth_l1": F.smooth_l1_loss(logits.sigmoid(), batch.mask),
        }
        total = terms["noise"] + 5 * terms["focal"] + terms["smooth_l1"]
        if settings.repair_weight:
            repaired = self._from_diffusion(guided.pred_x0_norm_guided)
            terms["repair"] = F.mse_loss(repaired.float(), batch.normal)
            total = total + settings.repair_weight * terms["repair"]
        if settings.no_discrepancy_weight:
            logits = self.segment(batch.image, batch.image)
            terms["no_discrepancy"] = (logits - _NOTHING).square().mean()
            total = total + settings.no_discrepancy_weight * terms["no_discrepancy"]
        return {"total": total, **terms}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """anomaly_map: sigmoid of the segmentation; image_score: mean of its highest pixels.

        All images share one noise field at each level, so that a score depends on its image alone
        and not on its batch. Without a generator the fields are the same at every call.
        """
        self.check_images(images)
        if images.dtype != torch.float32:
            raise DiffadError(
                f"images are {images.dtype}; DiffusionAD computes its times and noise in float32: "
                "leave weights and images there, and use autocast"
            )
        if generator is None:
            generator = torch.Generator().manual_seed(PREDICTION_SEED)
        shape, device = (1, *images.shape[1:]), generator.device
        noises = (torch.randn(shape, generator=generator, device=device) for _ in range(2))
        guided = self.reconstruct(images, *(noise.to(images.device) for noise in noises))
        return self.judge(images, self._from_diffusion(guided.pred_x0_norm_guided))

    def judge(self, images: Tensor, reconstruction: Tensor) -> Prediction:
        anomaly_map = self.segment(images, reconstruction).sigmoid()  # [B,1,H,W]
        image_score = highest_mean(anomaly_map, self.settings.score_pixels)  # [B]
        return Prediction(image_score, anomaly_map, reconstruction.clamp(0, 1))

    def reconstruct(
        self, images: Tensor, normal_noise: Tensor, noisier_noise: Tensor
    ) -> NormGuided:
        """Norm-guided denoising of images [B,3,H,W] in [0,1] at the times of the test.

        The noises are [B,3,H,W] or [1,3,H,W]; the result is in the range of the diffusion.
        """
        t, settings = images.new_ones(len(images), dtype=torch.int64), self.settings
        normal = NoiseLevel(settings.test_normal_t * t, normal_noise)
        noisier = NoiseLevel(settings.test_noisier_t * t, noisier_noise)
        x_0, weight = self._to_diffusion(images), settings.guidance_weight
        return norm_guided_one_step(self.schedule, self.predict_noise, x_0, normal, noisier, weight)

    def predict_noise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps [B,3,H,W] in x_t [B,3,H,W] at t int64 [B], in the range of the diffusion."""
        output = self.denoising(x_t, t)
        if self.settings.prediction == "x0":
            return predict_eps_from_x0(self.schedule, x_t, t, output)
        return output

    def segment(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """float32 logits [B,1,H,W] from images in [0,1] and their reconstruction."""
        return self.segmentation(torch.cat([images, reconstruction], dim=1)).float()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {name: list(network.parameters()) for name, network in self.named_children()}

    def _to_diffusion(self, images: Tensor) -> Tensor:
        return 2 * images - 1 if self.settings.signed_range else images

    def _from_diffusion(self, images: Tensor) -> Tensor:
        return (images + 1) / 2 if self.settings.signed_range else images
