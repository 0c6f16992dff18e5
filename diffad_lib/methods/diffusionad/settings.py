"""What can be set of DiffusionAD's detector; the defaults are the published values."""

from typing import Literal, Self

from pydantic import model_validator

from diffad_lib.networks.unet import UNetSettings
from diffad_lib.settings import setting


class DiffusionADSettings(UNetSettings):
    """Networks, times and score of DiffusionAD (arXiv 2303.08730 section 4; its args1.json)."""

    image_size: int = setting(256, "side of the images, pixels", ge=32, le=4096, multiple_of=32)
    segmentation_width: int = setting(64, "first-level channels of the head", ge=1, le=1024)
    timesteps: int = setting(1000, "T, the number of noising steps", ge=21, le=10_000)
    beta_schedule: Literal["linear", "cosine"] = setting("linear", "noise schedule")
    less_t_range: int = setting(300, "training draws normal_t below it, noisier_t from it on", ge=1)
    noisier_t_range: int | None = setting(
        None, "training draws noisier_t below it; none: below timesteps", ge=2
    )
    test_normal_t: int = setting(200, "normal_t of the test, 0-based", ge=0)
    test_noisier_t: int = setting(400, "noisier_t of the test, 0-based", ge=0)
    guidance_weight: float = setting(1.0, "strength of the norm guidance")
    signed_range: bool = setting(
        False, "feed the diffusion [-1,1], to which x_0 is clamped; the official code feeds [0,1]"
    )
    prediction: Literal["eps", "x0"] = setting(
        "eps", "what the U-Net puts out: noise, or the image (then min-SNR weights the noise loss)"
    )
    repair_weight: float = setting(
        0.0, "weight of the squared error of the reconstruction, also of anomalous images; not in "
        "the paper", ge=0,
    )  # fmt: skip
    no_discrepancy_weight: float = setting(
        0.0, "weight of the squared distance of the head's logits from -4 where the reconstruction "
        "is the image itself; not in the paper", ge=0,
    )  # fmt: skip
    score_pixels: int = setting(50, "highest pixels that the image score averages", ge=1)

    @model_validator(mode="after")
    def _check_times_and_pixels(self) -> Self:
        for name in ("less_t_range", "test_normal_t", "test_noisier_t"):
            if getattr(self, name) >= self.timesteps:
                raise ValueError(f"{name} {getattr(self, name)} must be below {self.timesteps}")
        most = self.noisier_t_range
        if most is not None and not self.less_t_range < most <= self.timesteps:
            raise ValueError(
                f"noisier_t_range {most} must be above less_t_range {self.less_t_range} and at "
                f"most {self.timesteps}"
            )
        if self.score_pixels > self.image_size**2:
            most = self.image_size**2
            raise ValueError(f"score_pixels {self.score_pixels} must be at most {most}")
        return self
