"""The training batches of a run: its textures, its foreground masks, its synthesizer."""

import numpy as np
from lightning_fabric import Fabric

from diffad_lib.batches import SyntheticBatches
from diffad_lib.datasets.dataset import Kind
from diffad_lib.datasets.images import ImageStack, load_split
from diffad_lib.mini.texture_bank import builtin_textures
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import data_kind, foreground_folder
from diffad_lib.synthesis.foreground import automatic_masks, isnet_masks
from diffad_lib.synthesis.mask_folder import load_mask_folder
from diffad_lib.synthesis.synthesizer import SynthesisSettings, Synthesizer
from diffad_lib.synthesis.textures import texture_samples


def make_batches(config: RunConfig, train: ImageStack, fabric: Fabric) -> SyntheticBatches:
    """The training batches; DiffadError for textures or foreground masks that are damaged."""
    kind = data_kind(config)
    return SyntheticBatches(
        train.images,
        [sample.image.name for sample in train.samples],
        Synthesizer(_textures(config), config.synthesis, kind),
        config.training.batch_size,
        config.seed,
        fabric.device,
        _foregrounds(config, kind, train),
    )


def _foregrounds(config: RunConfig, kind: Kind, train: ImageStack) -> np.ndarray | None:
    """Masks for the training images of an object; a texture gets random regions at synthesis."""
    how = config.synthesis
    if not isinstance(how, SynthesisSettings):
        return None
    if folder := foreground_folder(config):
        return load_mask_folder(folder, train.samples, config.detector.image_size)
    if how.foreground == "none" or kind == "texture":
        return None
    make = {"auto": automatic_masks, "is-net": isnet_masks}[how.foreground]
    return make(train.images)


def foreground_lines(config: RunConfig, masks: np.ndarray | None) -> list[str]:
    """Lines on training images in which no object was found; masks uint8 [N,1,H,W] of all.

    Such a mask is full, where `whole_if_implausible` replaced it, or empty, as IS-Net may leave it.
    """
    if masks is None or config.weights is not None:
        return []
    found = {
        "lie anywhere": masks.all(axis=(1, 2, 3)),
        "are not made": ~masks.any(axis=(1, 2, 3)),
    }
    return [
        f"on {chosen.sum()} of {len(masks)} training images no object was found, so anomalies "
        f"{effect} on them; look with `diffad foregrounds … --sheet masks.png`, or give --set "
        "kind=texture or foreground=none"
        for effect, chosen in found.items()
        if chosen.any()
    ]


def _textures(config: RunConfig) -> np.ndarray:
    if config.textures is None:
        return builtin_textures(config.detector.image_size)
    size, rule = config.detector.image_size, config.evaluation.image_rule
    return load_split(texture_samples(config.textures), size, image_rule=rule).images
