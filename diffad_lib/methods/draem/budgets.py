"""DRAEM's numbers at every budget, and the named departures from them.

paper: Zavrtanik, Kristan, Skočaj, ICCV 2021, sections 3.2 and 4. laptop, mini: chosen on held-out
normal images with drawn defects (docs/recipes.md).
"""

from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.plans import MINI, Budget, HeadTraining, Variant, code_resize, official_masks
from diffad_lib.settings import BudgetName
from diffad_lib.synthesis.synthesizer import SynthesisSettings

_PAPER = Budget(
    detector=DraemSettings(),
    # The paper's β, in [0.1, 1.0], is the opacity of the anomaly; ours is the share of the image.
    synthesis=SynthesisSettings(beta_max=0.9, rotation_degrees=45, rotation_probability=0.3),
    training=HeadTraining(
        epochs=700,
        learning_rate=1e-4,
        lr_schedule="paper-steps",
        checkpoint_seconds=600,
        channels_last=True,
    ),
)
_LAPTOP = Budget(
    detector=DraemSettings(image_size=128, base_width=16, segmentation_width=16, score_window=7),
    synthesis=SynthesisSettings(foreground="auto", lighting=0.2),
    training=HeadTraining(
        steps=3000,
        batch_size=4,
        learning_rate=1e-3,
        lr_schedule="cosine",
        warmup_fraction=0.05,
        precision="auto",
        channels_last=True,
    ),
)
_SMALLER = {"steps": 400, "batch_size": 8, "lighting": 0.1, "score_window": 5}

BUDGETS: dict[BudgetName, Budget] = {
    "mini": _LAPTOP.with_settings({**MINI, **_SMALLER, "anomaly_probability": 1.0}),
    "laptop": _LAPTOP,
    "paper": _PAPER,
}

VARIANTS = {
    "code-rotation": Variant(
        "Rotate normal training images by up to ±90° with probability 0.3.",
        "VitjanZ/DRAEM data_loader.py; paper section 4: ±45°",
        {"rotation_degrees": 90, "rotation_probability": 0.3},
        official=True,
    ),
    "code-lr": Variant(
        "Multiply the learning rate by 0.2 after 80 % and 90 % of the epochs.",
        "VitjanZ/DRAEM train_DRAEM.py; paper section 4: ×0.1 after epochs 400 and 600",
        {"lr_schedule": "code-steps"},
        official=True,
    ),
    "code-beta": Variant(
        "Draw the share of the image that shows through an anomaly from U(0, 0.8).",
        "VitjanZ/DRAEM data_loader.py; paper section 3.3: the opacity of the anomaly is in "
        "[0.1, 1.0], so the share is U(0, 0.9)",
        {"beta_min": 0.0, "beta_max": 0.8},
        official=True,
    ),
    "code-resize": code_resize("VitjanZ/DRAEM data_loader.py, cv2.resize"),
    "official-masks": official_masks("VitjanZ/DRAEM test_DRAEM.py, astype(np.uint8)"),
    "with-foreground": Variant(
        "Keep synthetic anomalies on the foreground of the object.",
        "DiffusionAD section 3.3, applied to DRAEM",
        {"foreground": "auto"},
    ),
}
