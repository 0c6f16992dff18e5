"""What can be set of DRAEM's detector; the defaults are the published values."""

from diffad_lib.scores import Window
from diffad_lib.settings import DetectorSettings, setting


class DraemSettings(DetectorSettings):
    """Widths of DRAEM's two networks and the window of its image score, as published."""

    image_size: int = setting(256, "side of the images, pixels", ge=32, le=4096, multiple_of=32)
    base_width: int = setting(
        128, "first-level channels of the reconstructive network", ge=1, le=1024
    )
    segmentation_width: int = setting(64, "first-level channels of the head", ge=1, le=1024)
    score_window: Window = 21
