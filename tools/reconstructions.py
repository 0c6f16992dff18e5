"""Swap test and reconstructions of the shipped detectors: the figures of docs/recipes.md.

    python tools/reconstructions.py                       # all of them
    python tools/reconstructions.py diffusionad_bracket   # one

On the test set of the mini data: image AUROC / pixel AP with each reconstruction. On 100 twins, a
clean and a defective picture of one scene each: which share of the defect is kept in the
reconstruction, and which share of the fine detail of the other pixels; means.
"""

import argparse

import torch
from lightning_fabric import Fabric

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


def swaps(detector: Detector, category: str) -> dict[str, dict[str, float]]:
    """The swap test on the mini data's test set of a category."""
    images, masks = mini_split(category, "test", detector.settings.image_size)
    pixels, labels = (255 * images).round().byte(), masks.flatten(1).any(dim=1)
    return swap_test(detector, pixels.numpy(), labels.int().numpy(), masks[:, 0].numpy(), FABRIC)


def kept(detector: Detector, category: str) -> tuple[float, float]:
    """Mean share of the defect and of the fine detail that the reconstructions keep."""
    names = list(DEFECTS[category])
    cases = [(f"twin{number}", names[number % len(names)]) for number in range(TWINS)]
    clean, bad = take_twins(category, cases, detector.settings.image_size, SEED)
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
        told = [
            f"{given} {row['image_auroc']:.3f} / {row['pixel_ap']:.3f}"
            for given, row in swaps(detector, category).items()
        ]
        defect, detail = kept(detector, category)
        told += [f"defect kept {defect:.2f}", f"detail kept {detail:.2f}"]
        print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
