"""DiffusionAD: norm-guided one-step denoising, then segmentation of image and reconstruction.

Source: Zhang et al. (arXiv 2303.08730); HuiZhang0812/DiffusionAD.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.diffusion.denoising import (
    NormGuided,
    norm_guided_one_step,
    norm_guided_training,
)
from diffad_lib.diffusion.process import predict_eps_from_x0
from diffad_lib.diffusion.schedule import Schedule, cosine_betas, linear_betas, min_snr_weights
from diffad_lib.errors import DiffadError
from diffad_lib.losses import sigmoid_focal_loss
from diffad_lib.networks.segmentation import SegmentationNetwork
from diffad_lib.networks.unet import UNet
from diffad_lib.types import Prediction, TrainingBatch

PREDICTION_SEED = 0
BETAS = {"linear": linear_betas, "cosine": cosine_betas}


class DiffusionAD(Detector):
    """The DiffusionAD detector.

    image_size: side of the images in pixels, a multiple of 32. base_width, channel_multipliers,
    residual_blocks, attention_resolutions, heads, norm_groups: see `UNet`.
    segmentation_width: first-level channels of the segmentation network.
    timesteps, beta_schedule: T and the schedule. less_t_range: in training, normal_t is below it
    and noisier_t not. test_normal_t, test_noisier_t, guidance_weight: of the test.
    signed_range: feed the diffusion [-1,1], the range that x_0 is clamped to; the official code
    feeds [0,1]. prediction: what the denoising network puts out, the noise or the image; for the
    image the noise loss has min-SNR weights. noise_draws: predictions averaged at test time.
    score_pixels: highest pixels that the image score averages, 50 in the official code at 256 px.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_width: int = 128,
        segmentation_width: int = 64,
        channel_multipliers: Sequence[int] | None = None,
        residual_blocks: int = 2,
        attention_resolutions: Sequence[int] = (32, 16, 8),
        heads: int = 4,
        norm_groups: int | None = None,
        timesteps: int = 1000,
        beta_schedule: Literal["linear", "cosine"] = "linear",
        less_t_range: int = 300,
        test_normal_t: int = 200,
        test_noisier_t: int = 400,
        guidance_weight: float = 1.0,
        signed_range: bool = False,
        prediction: Literal["eps", "x0"] = "eps",
        noise_draws: int = 1,
        score_pixels: int = 50,
    ) -> None:
        super().__init__()
        if image_size % 32:
            raise DiffadError(f"image_size {image_size} must be a multiple of 32 for DiffusionAD")
        if beta_schedule not in BETAS:
            raise DiffadError(f'beta_schedule "{beta_schedule}" must be one of {list(BETAS)}')
        if not 1 <= less_t_range < timesteps:
            raise DiffadError(f"less_t_range {less_t_range} must be from 1 to {timesteps - 1}")
        if prediction not in ("eps", "x0"):
            raise DiffadError(f'prediction "{prediction}" must be "eps" or "x0"')
        for name, t in (("test_normal_t", test_normal_t), ("test_noisier_t", test_noisier_t)):
            if not 0 <= t < timesteps:
                raise DiffadError(f"{name} {t} must be from 0 to {timesteps - 1}")
        if noise_draws < 1:
            raise DiffadError(f"noise_draws {noise_draws} must be at least 1")
        if not 1 <= score_pixels <= image_size**2:
            raise DiffadError(f"score_pixels {score_pixels} must be from 1 to {image_size**2}")
        multipliers = None if channel_multipliers is None else list(channel_multipliers)
        unet_settings = {
            "image_size": image_size,
            "base_width": base_width,
            "channel_multipliers": multipliers,
            "residual_blocks": residual_blocks,
            "attention_resolutions": list(attention_resolutions),
            "heads": heads,
            "norm_groups": norm_groups,
        }
        self.settings = unet_settings | {
            "segmentation_width": segmentation_width,
            "timesteps": timesteps,
            "beta_schedule": beta_schedule,
            "less_t_range": less_t_range,
            "test_normal_t": test_normal_t,
            "test_noisier_t": test_noisier_t,
            "guidance_weight": guidance_weight,
            "signed_range": signed_range,
            "prediction": prediction,
            "noise_draws": noise_draws,
            "score_pixels": score_pixels,
        }
        self.less_t_range = less_t_range
        self.test_normal_t, self.test_noisier_t = test_normal_t, test_noisier_t
        self.guidance_weight = guidance_weight
        self.signed_range, self.noise_draws = signed_range, noise_draws
        self.prediction, self.score_pixels = prediction, score_pixels
        self.schedule = Schedule.from_betas(BETAS[beta_schedule](timesteps))
        self.loss_weights = min_snr_weights(self.schedule) if prediction == "x0" else None
        self.denoising = UNet(**unet_settings)
        self.segmentation = SegmentationNetwork(6, 1, segmentation_width)

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """total = noise + 5 focal + smooth_l1 (train.py); batch.generator must be set.

        "noise" is over the images without an anomaly. The gradient of the other two reaches the
        denoising network through the reconstruction.
        """
        if batch.generator is None:
            raise ValueError("DiffusionAD draws times and noises: set TrainingBatch.generator")
        guided = norm_guided_training(
            self.schedule,
            self.predict_noise,
            self._to_diffusion(batch.image),
            batch.is_anomalous,
            self.less_t_range,
            self.guidance_weight,
            batch.generator,
            self.loss_weights,
        )
        logits = self.segment(batch.image, self._from_diffusion(guided.pred_x0_norm_guided))
        terms = {
            "noise": guided.loss,
            "focal": sigmoid_focal_loss(logits, batch.mask),
            "smooth_l1": F.smooth_l1_loss(logits.sigmoid(), batch.mask),
        }
        total = terms["noise"] + 5 * terms["focal"] + terms["smooth_l1"]
        return {"total": total, **terms}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """anomaly_map: sigmoid of the segmentation; image_score: mean of its highest pixels.

        All images share one noise field per draw, so that a score depends on its image alone and
        not on the batch that it sits in. Without a generator the fields are the same at every
        call. With several draws, maps and reconstructions are averaged.
        """
        if generator is None:
            generator = torch.Generator().manual_seed(PREDICTION_SEED)
        maps, reconstructions = [], []
        for _ in range(self.noise_draws):
            normal_noise, noisier_noise = (
                torch.randn(1, *images.shape[1:], generator=generator, device=generator.device)
                for _ in range(2)
            )
            guided = self.reconstruct(
                images, normal_noise.to(images.device), noisier_noise.to(images.device)
            )
            reconstruction = self._from_diffusion(guided.pred_x0_norm_guided)
            maps.append(self.segment(images, reconstruction).sigmoid())
            reconstructions.append(reconstruction)
        anomaly_map = torch.stack(maps).mean(dim=0)  # [B,1,H,W]
        reconstruction = torch.stack(reconstructions).mean(dim=0)  # [B,3,H,W]
        image_score = highest_mean(anomaly_map, self.score_pixels)  # [B]
        return Prediction(image_score, anomaly_map, reconstruction.clamp(0, 1))

    def reconstruct(
        self, images: Tensor, normal_noise: Tensor, noisier_noise: Tensor
    ) -> NormGuided:
        """Norm-guided denoising of images [B,3,H,W] in [0,1] at the times of the test.

        The noises are [B,3,H,W] or [1,3,H,W]; the result is in the range of the diffusion.
        """
        t = images.new_ones(len(images), dtype=torch.int64)
        return norm_guided_one_step(
            self.schedule,
            self.predict_noise,
            self._to_diffusion(images),
            self.test_normal_t * t,
            self.test_noisier_t * t,
            normal_noise,
            noisier_noise,
            self.guidance_weight,
        )

    def predict_noise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps [B,3,H,W] in x_t [B,3,H,W] at t int64 [B], in the range of the diffusion."""
        output = self.denoising(x_t, t)
        if self.prediction == "x0":
            return predict_eps_from_x0(self.schedule, x_t, t, output)
        return output

    def segment(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """float32 logits [B,1,H,W] from images in [0,1] and their reconstruction."""
        return self.segmentation(torch.cat([images, reconstruction], dim=1)).float()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "denoising": list(self.denoising.parameters()),
            "segmentation": list(self.segmentation.parameters()),
        }

    def _to_diffusion(self, images: Tensor) -> Tensor:
        return 2 * images - 1 if self.signed_range else images

    def _from_diffusion(self, images: Tensor) -> Tensor:
        return (images + 1) / 2 if self.signed_range else images


def highest_mean(anomaly_map: Tensor, pixels: int = 50) -> Tensor:
    """Image score [B]: the mean of the highest `pixels` values of [B,1,H,W] (eval.py)."""
    return anomaly_map.flatten(1).topk(pixels, dim=1).values.mean(dim=1)
