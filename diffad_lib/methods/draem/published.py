"""What DRAEM's paper and its official code have, setting by setting, and where they say so.

paper: ICCV 2021 (arXiv 2108.07610); a value with "by a reading note" is from CodeofO/DRAEM_BTS.
code: VitjanZ/DRAEM at 2dbf673. `tools/hyperparameters.py` makes the table of these.
"""

from diffad_lib.methods.method import AS_THE_CODE, UNKNOWN, Published

PUBLISHED = {
    "image_size": Published(UNKNOWN, 256, "train_DRAEM.py resize_shape"),
    "base_width": Published(UNKNOWN, 128, "model_unet.py ReconstructiveSubNetwork"),
    "segmentation_width": Published(UNKNOWN, 64, "model_unet.py DiscriminativeSubNetwork"),
    "score_window": Published(UNKNOWN, 21, "section 3.4, a mean filter; test_DRAEM.py avg_pool2d"),
    "rotation_degrees": Published(45, 90, "section 4; data_loader.py self.rot"),
    "rotation_probability": Published(
        UNKNOWN, 0.3, "data_loader.py do_aug_orig; the paper tells no share"
    ),
    "lighting": Published(0.0, 0.0, "in neither"),
    "beta_min": Published(
        0.0, 0.0, "section 3.3 by a reading note: opacity of the anomaly β in [0.1, 1.0], so a "
        "share of the image of 1 - β in [0, 0.9]; data_loader.py beta",
    ),
    "beta_max": Published(
        0.9, 0.8, "as beta_min; anomalib has (0.1, 1.0) too, the code rand() * 0.8 of the image"
    ),
    "anomaly_probability": Published(UNKNOWN, 0.5, "data_loader.py no_anomaly"),
    "foreground": Published("none", "none", "DiffusionAD's, in neither"),
    "self_augmentation_probability": Published(0.0, 0.0, "DiffusionAD's, in neither"),
    "batch_size": Published(UNKNOWN, 8, "README --bs 8"),
    "epochs": Published(
        700, 700, "section 4; README --epochs 700 (the released weights are named 0.0001_800_bs8)"
    ),
    "learning_rate": Published(1e-4, 1e-4, "section 4; README --lr 0.0001"),
    "lr_schedule": Published(
        "paper-steps", "code-steps", "section 4, source note: x0.1 after epochs 400 and 600; "
        "train_DRAEM.py MultiStepLR: x0.2 after 80 % and 90 %",
    ),
    "precision": Published(UNKNOWN, "32", "no autocast in train_DRAEM.py"),
    "select_on_test_epochs": Published(UNKNOWN, None, "train_DRAEM.py keeps the last epoch"),
    "image_rule": Published(UNKNOWN, "linear", "data_loader.py cv2.resize without a rule"),
    "mask_rule": Published(UNKNOWN, "whole", "test_DRAEM.py astype(np.uint8) of resized masks"),
    "optimiser": Published(UNKNOWN, "Adam", "train_DRAEM.py", AS_THE_CODE),
    "initial weights": Published(
        UNKNOWN, "N(0, 0.02), norms N(1, 0.02)", "train_DRAEM.py weights_init", AS_THE_CODE
    ),
    "loss": Published(
        "L2 + (1 - SSIM) + focal", "L2 + (1 - SSIM) + focal", "eq. 1 to 3; train_DRAEM.py",
        AS_THE_CODE,
    ),
    "focal loss": Published(
        UNKNOWN, "γ = 2, smoothed by 1e-5", "loss.py FocalLoss", AS_THE_CODE
    ),
    "threshold of the Perlin noise": Published(
        "drawn at random", 0.5, "section 3.3 by a reading note; data_loader.py threshold",
        AS_THE_CODE,
    ),
    "cells of the Perlin noise": Published(
        UNKNOWN, "2^0 … 2^5 a side", "data_loader.py perlin_scale", AS_THE_CODE
    ),
    "anomaly sources": Published(
        "photographs of textures", "the same", "section 4; README anomaly_source_path",
        "`--textures`; without it 128 drawn ones"
    ),
    "augmentations of a source": Published(
        "3 of 7 kinds", "3 of 10 kinds", "section 3.3 by a reading note; data_loader.py augmenters",
        AS_THE_CODE,
    ),
    "colours": Published(UNKNOWN, "BGR", "data_loader.py cv2.imread", "RGB"),
    "images of an epoch": Published(
        UNKNOWN, "drawn with replacement, last batch smaller", "data_loader.py __getitem__",
        "each once, whole batches",
    ),
}  # fmt: skip
