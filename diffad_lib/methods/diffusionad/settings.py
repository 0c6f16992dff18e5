"""What can be set of DiffusionAD's detector; the defaults are the published values."""

from typing import Literal, Self

from pydantic import Field, model_validator

from diffad_lib.networks.unet import UNetSettings


class DiffusionADSettings(UNetSettings):
    """Networks, times and score of DiffusionAD (arXiv 2303.08730 section 4; its args1.json)."""

    image_size: int = Field(
        256, ge=32, le=4096, multiple_of=32, description="side of the images, pixels"
    )
    segmentation_width: int = Field(
        64, ge=1, description="first-level channels of the segmentation network"
    )
    timesteps: int = Field(1000, ge=21, description="T, the number of noising steps")
    beta_schedule: Literal["linear", "cosine"] = Field("linear", description="of the noise")
    less_t_range: int = Field(
        300, ge=1, description="in training, normal_t is below it and noisier_t not"
    )
    test_normal_t: int = Field(200, ge=0, description="normal_t of the test, 0-based")
    test_noisier_t: int = Field(400, ge=0, description="noisier_t of the test, 0-based")
    guidance_weight: float = Field(1.0, description="strength of the norm guidance")
    signed_range: bool = Field(
        False,
        description="feed the diffusion [-1,1], to which x_0 is clamped; the official code: [0,1]",
    )
    prediction: Literal["eps", "x0"] = Field(
        "eps",
        description="what the denoising network puts out, noise or image; for the image the noise "
        "loss has min-SNR weights",
    )
    score_pixels: int = Field(
        50, ge=1, description="highest pixels that the image score averages, 50 at 256 px"
    )

    @model_validator(mode="after")
    def _check_times_and_pixels(self) -> Self:
        for name in ("less_t_range", "test_normal_t", "test_noisier_t"):
            if getattr(self, name) >= self.timesteps:
                raise ValueError(f"{name} {getattr(self, name)} must be below {self.timesteps}")
        if self.score_pixels > self.image_size**2:
            most = self.image_size**2
            raise ValueError(f"score_pixels {self.score_pixels} must be at most {most}")
        return self
