"""DiffusionAD's numbers at every budget, and the named departures from them.

paper: Zhang et al., arXiv 2303.08730, sections 3.3 and 4. laptop, mini: chosen on held-out normal
images with drawn defects (docs/recipes.md).
"""

from diffad_lib.methods.diffusionad.settings import DiffusionADSettings
from diffad_lib.plans import MINI, Budget, HeadTraining, Variant, code_resize, official_masks
from diffad_lib.settings import BudgetName
from diffad_lib.synthesis.synthesizer import SynthesisSettings

_PAPER = Budget(
    detector=DiffusionADSettings(),
    synthesis=SynthesisSettings(beta_min=0.2, foreground="auto", self_augmentation_probability=0.5),
    training=HeadTraining(
        epochs=3000,
        batch_size=16,
        learning_rate=1e-4,
        segmentation_learning_rate=1e-5,
        segmentation_lr_schedule="cosine-10",
        checkpoint_seconds=600,
        channels_last=True,
    ),
)
_LAPTOP = Budget(
    detector=DiffusionADSettings(
        image_size=64,
        base_width=8,
        segmentation_width=16,
        channel_multipliers=(1, 2, 4, 8),
        residual_blocks=1,
        attention_resolutions=(8,),
        signed_range=True,
        prediction="x0",
        score_pixels=3,
    ),
    synthesis=_PAPER.synthesis.but(lighting=0.1),
    training=HeadTraining(
        steps=3000,
        batch_size=4,
        learning_rate=2e-3,
        segmentation_learning_rate=3e-3,
        lr_schedule="cosine",
        warmup_fraction=0.05,
        precision="auto",
        channels_last=True,
    ),
)

BUDGETS: dict[BudgetName, Budget] = {
    "mini": _LAPTOP.with_settings({**MINI, "steps": 500}),
    "laptop": _LAPTOP,
    "paper": _PAPER,
}

VARIANTS = {
    "repair": Variant(
        "Ask for a good reconstruction of anomalous images too, and for nothing to be found where "
        "image and reconstruction are the same: then the score needs the reconstruction.",
        "this project; docs/recipes.md",
        {"repair_weight": 10.0, "no_discrepancy_weight": 0.1},
    ),
    "select-on-test": Variant(
        "Keep the weights whose test image AUROC and image + pixel AUROC, in thousandths, are as "
        "high as any before, looked at every 50 epochs. This leaks the test set: only for "
        "comparison with published figures.",
        "HuiZhang0812/DiffusionAD train.py",
        {"select_on_test_epochs": 50},
        official=True,
    ),
    "code-resize": code_resize("HuiZhang0812/DiffusionAD dataset_beta_thresh.py, cv2.resize"),
    "official-masks": official_masks("HuiZhang0812/DiffusionAD train.py and eval.py, astype(int)"),
    "t-max-600": Variant(
        "Draw noisier_t below 600 in training, not up to 999.",
        "HuiZhang0812/DiffusionAD args1.json, noisier_t_range; its code never reads the value",
        {"noisier_t_range": 600},
    ),
    "signed-range": Variant(
        "Feed images in [-1, 1], the range to which x̂_0 is clamped.",
        "Ho et al. 2020; the official DiffusionAD code feeds [0, 1]",
        {"signed_range": True},
    ),
}
