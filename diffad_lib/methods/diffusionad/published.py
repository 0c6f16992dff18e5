"""What DiffusionAD's paper and its official code have, setting by setting, and where.

paper: arXiv 2303.08730, of which we could look at what others quote alone. code:
HuiZhang0812/DiffusionAD at 8a64c03. `tools/hyperparameters.py` makes the table of these.
"""

from diffad_lib.methods.method import AS_THE_CODE, UNKNOWN, Published

PUBLISHED = {
    "image_size": Published(UNKNOWN, 256, "args1.json img_size"),
    "base_width": Published(UNKNOWN, 128, "args1.json base_channels"),
    "channel_multipliers": Published(UNKNOWN, None, "Recon_subnetwork.py, by the size"),
    "residual_blocks": Published(UNKNOWN, 2, "Recon_subnetwork.py num_res_blocks"),
    "attention_resolutions": Published(UNKNOWN, (32, 16, 8), "Recon_subnetwork.py"),
    "heads": Published(UNKNOWN, 4, "args1.json num_heads"),
    "segmentation_width": Published(UNKNOWN, 64, "Seg_subnetwork.py"),
    "timesteps": Published(UNKNOWN, 1000, "args1.json T"),
    "beta_schedule": Published(UNKNOWN, "linear", "args1.json"),
    "less_t_range": Published(UNKNOWN, 300, "args1.json"),
    "noisier_t_range": Published(
        UNKNOWN, None, "DDPM.py draws up to T - 1; args1.json says 600, which no line reads"
    ),
    "test_normal_t": Published(UNKNOWN, 200, "args1.json eval_normal_t"),
    "test_noisier_t": Published(UNKNOWN, 400, "args1.json eval_noisier_t"),
    "guidance_weight": Published(1.0, 1.0, "section 3.2; args1.json condition_w"),
    "signed_range": Published(UNKNOWN, False, "dataset_beta_thresh.py divides by 255"),
    "prediction": Published("eps", "eps", "the method itself; DDPM.py"),
    "repair_weight": Published(0.0, 0.0, "in neither"),
    "no_discrepancy_weight": Published(0.0, 0.0, "in neither"),
    "score_pixels": Published(UNKNOWN, 50, "train.py and eval.py topk"),
    "rotation_degrees": Published(UNKNOWN, 0.0, "dataset_beta_thresh.py turns no normal image"),
    "rotation_probability": Published(UNKNOWN, 0.0, "as rotation_degrees"),
    "lighting": Published(0.0, 0.0, "in neither"),
    "beta_min": Published(UNKNOWN, 0.2, "dataset_beta_thresh.py beta: rand() * 0.6 + 0.2"),
    "beta_max": Published(UNKNOWN, 0.8, "as beta_min"),
    "anomaly_probability": Published(UNKNOWN, 0.5, "dataset_beta_thresh.py no_anomaly"),
    "foreground": Published(
        UNKNOWN, UNKNOWN, "section 3.3; masks of IS-Net (README), not published in full; ours: "
        "GrabCut, or foreground=is-net, or a folder of masks",
    ),
    "self_augmentation_probability": Published(
        UNKNOWN, 0.5, "dataset_beta_thresh.py texture_or_patch, objects only"
    ),
    "batch_size": Published(UNKNOWN, 16, "args1.json Batch_Size"),
    "epochs": Published(UNKNOWN, 3000, "args1.json EPOCHS"),
    "learning_rate": Published(UNKNOWN, 1e-4, "args1.json diffusion_lr"),
    "lr_schedule": Published(UNKNOWN, "constant", "train.py: no scheduler of the U-Net"),
    "segmentation_learning_rate": Published(UNKNOWN, 1e-5, "args1.json seg_lr"),
    "segmentation_lr_schedule": Published(
        UNKNOWN, "cosine-10", "train.py CosineAnnealingLR(T_max=10), stepped after every batch"
    ),
    "precision": Published(UNKNOWN, "32", "no autocast in train.py"),
    "select_on_test_epochs": Published(
        UNKNOWN, 50, "train.py keeps weights whose rounded test image AUROC and image + pixel "
        "AUROC are as high as any before: a leak, here a variant",
    ),
    "image_rule": Published(
        UNKNOWN, "linear", "dataset_beta_thresh.py cv2.resize without a rule"
    ),
    "mask_rule": Published(UNKNOWN, "whole", "train.py, eval.py astype(int) after a linear resize"),
    "fpr_limit": Published(UNKNOWN, 0.3, "eval.py pixel_pro"),
    "integration of PRO": Published(
        UNKNOWN, "1000 thresholds, stretched to the limit", "eval.py pixel_pro; chapter 10, 6.1",
        "exact",
    ),
    "anomaly sources": Published(
        UNKNOWN, "photographs of textures", "args1.json anomaly_source_path",
        "`--textures`; without it 128 drawn ones"
    ),
    "augmentations of a source": Published(
        UNKNOWN, "3 of 10 kinds", "dataset_beta_thresh.py randAugmenter", AS_THE_CODE
    ),
    "threshold of the Perlin noise": Published(
        UNKNOWN, 0.5, "dataset_beta_thresh.py threshold", AS_THE_CODE
    ),
    "cells of the Perlin noise": Published(
        UNKNOWN, "2^0 … 2^5 a side", "dataset_beta_thresh.py perlin_scale", AS_THE_CODE
    ),
    "region of a texture": Published(
        UNKNOWN, "a file of carpet/thresh", "dataset_beta_thresh.py random_choice_foreground_path; "
        "not published", "a random ellipse",
    ),
    "edge of the foreground": Published(
        UNKNOWN, "soft, and so is the mask of the anomaly", "dataset_beta_thresh.py thresh / 255",
        "0 or 1",
    ),
    "patches of the image itself": Published(
        UNKNOWN, "8 × 8, columns and then rows shuffled", "dataset_beta_thresh.py wi, hi",
        "8 × 8 in any order",
    ),
    "optimiser": Published(UNKNOWN, "Adam, no weight decay", "train.py, args1.json", AS_THE_CODE),
    "loss": Published(
        UNKNOWN, "noise + 5 focal + smooth L1", "train.py", AS_THE_CODE
    ),
    "focal loss": Published(UNKNOWN, "α = 0.5, γ = 4", "train.py BinaryFocalLoss", AS_THE_CODE),
    "noise loss": Published(
        "normal images only", "normal images only", "eq. 9; DDPM.py", AS_THE_CODE
    ),
    "noise of the test": Published(
        UNKNOWN, "a field for every image", "eval.py", "one field for all images"
    ),
    "group norm": Published(UNKNOWN, "32 groups", "Recon_subnetwork.py GroupNorm32", AS_THE_CODE),
    "dropout": Published(UNKNOWN, 0, "args1.json", AS_THE_CODE),
    "images of an epoch": Published(
        UNKNOWN, "drawn with replacement, whole batches", "dataset_beta_thresh.py __getitem__, "
        "train.py drop_last", "each once, whole batches",
    ),
}  # fmt: skip
