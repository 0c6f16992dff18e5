"""Swap test and reconstructions of the shipped detectors: the figures of docs/recipes.md.

    python tools/reconstructions.py                       # all of them
    python tools/reconstructions.py diffusionad_bracket   # one

Image AUROC / pixel AP with each reconstruction, on the test set of the mini data and on 100 twins,
a clean and a defective picture of one scene each, which no training and no choice has seen. On the
twins also: which share of the defect is kept in the reconstruction, and which share of the fine
detail of the other pixels; means.
"""

import argparse

import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.course.lessons import (
    DEFECTS,
    defect_kept,
    defect_mask,
    detail_kept,
    mini_split,
    take_twins,
)
from diffad_lib.course.shipped import SHIPPED, load_shipped
from diffad_lib.detector import Detector
from diffad_lib.swap import swap_test

TWINS, BATCH, SEED = 100, 20, 11
FABRIC = Fabric(accelerator="cpu", devices=1)


def swaps(detector: Detector, images: Tensor, masks: Tensor) -> str:
    """The swap test on images [N,3,H,W] in [0,1] and masks [N,1,H,W], told in a line."""
    pixels, labels = (255 * images).round().byte(), masks.flatten(1).any(dim=1)
    given = pixels.numpy(), labels.int().numpy(), masks[:, 0].numpy()
    found = swap_test(detector, *given, FABRIC)
    return ", ".join(
        f"{name} {row['image_auroc']:.3f} / {row['pixel_ap']:.3f}" for name, row in found.items()
    )


def twins(category: str, size: int) -> tuple[Tensor, Tensor]:
    """The clean and the defective pictures, [N,3,size,size] each."""
    names = list(DEFECTS[category])
    cases = [(f"twin{number}", names[number % len(names)]) for number in range(TWINS)]
    return take_twins(category, cases, size, SEED)


def kept(detector: Detector, clean: Tensor, bad: Tensor) -> tuple[float, float]:
    """Mean share of the defect and of the fine detail that the reconstructions keep."""
    with torch.inference_mode():
        found = torch.cat([detector.predict(part).reconstruction for part in bad.split(BATCH)])
    normal = (~defect_mask(clean, bad)).float()
    defect, detail = defect_kept(found, clean, bad), detail_kept(found, bad, normal)
    return defect.mean().item(), detail.mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHIPPED)}")
    for name in parser.parse_args().names or SHIPPED:
        detector, category = load_shipped(name).detector, name.split("_")[1]
        size = detector.settings.image_size
        clean, bad = twins(category, size)
        truth = torch.cat([torch.zeros_like(clean[:, :1]), defect_mask(clean, bad).float()])
        defect, detail = kept(detector, clean, bad)
        print(f"{name}: defect kept {defect:.2f}, detail kept {detail:.2f}")
        print(f"  test set: {swaps(detector, *mini_split(category, 'test', size))}")
        print(f"  twins: {swaps(detector, torch.cat([clean, bad]), truth)}", flush=True)


if __name__ == "__main__":
    main()
