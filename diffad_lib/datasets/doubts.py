"""What the pictures of a category, looked at all together, make doubtful: shape, colour, light."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.header import orientation, seen_size
from diffad_lib.datasets.images import ImageStack
from diffad_lib.datasets.inventory import PARTS, Part
from diffad_lib.datasets.samples import Sample
from diffad_lib.metrics import image_auroc

_ALIKE = 1.02  # shapes whose proportions differ by less count as one
_NAMED_SHAPES = 3
_FEWEST = 10  # images of a part, below which their light tells nothing
_APART = 0.95  # AUROC; beyond it, or beyond its opposite, brightness alone tells two parts apart


@dataclass(frozen=True)
class Look:
    """One picture as a whole."""

    is_grey: bool  # its three channels are equal
    brightness: float  # mean of all its values, 0 to 255


def look_at(pixels: NDArray[np.uint8]) -> Look:
    """Of a picture [H,W,3] RGB."""
    return Look(bool((pixels == pixels[..., :1]).all()), float(pixels.mean()))


def looks_of(stack: ImageStack) -> Iterator[tuple[Sample, Look]]:
    """Of each image at the size at which it was loaded."""
    for sample, pixels in zip(stack.samples, stack.images, strict=True):
        yield sample, look_at(pixels.transpose(1, 2, 0))


def look_lines(looks: Iterable[tuple[Sample, Look]]) -> list[str]:
    """`grey_line` and `light_lines`, for which every picture has to be decoded."""
    parts: dict[Part, list[Look]] = {}
    for sample, look in looks:
        parts.setdefault((sample.split, sample.label), []).append(look)
    greys = {
        name: (sum(look.is_grey for look in parts[part]), len(parts[part]))
        for part, name in PARTS.items()
        if part in parts
    }
    light = {part: [one.brightness for one in found] for part, found in parts.items()}
    return [*grey_line(greys), *light_lines(light)]


def grey_line(parts: Mapping[str, tuple[int, int]]) -> list[str]:
    """One line where some pictures are grey and others in colour; of each part both numbers."""
    grey, count = map(sum, zip(*parts.values(), strict=True)) if parts else (0, 0)
    if grey in (0, count):
        return []
    told = ", ".join(f"{part} {some} of {all_of_it}" for part, (some, all_of_it) in parts.items())
    return [f"grey images beside images in colour: {told}; save all as grey, or take all in colour"]


def light_lines(parts: dict[Part, list[float]]) -> list[str]:
    """Lines on parts that mean brightness (0 to 255) alone tells apart.

    Good images of training and test are then lit otherwise. Where it tells the defective test
    images from the good ones, an image score that follows the light has an AUROC near 0 or 1.
    """
    train, good, defective = (
        parts.get(part, []) for part in (("train", 0), ("test", 0), ("test", 1))
    )
    lines = []
    if (brighter := _share_brighter(good, train)) is not None:
        lines.append(
            f"light: good test images are {'brighter' if brighter > 0.5 else 'darker'} than good "
            f"training images (mean brightness mostly {_range(good)} and {_range(train)} of 255); "
            "take test images under the light of the training"
        )
    if (brighter := _share_brighter(defective, good)) is not None:
        lines.append(
            f"light: mean brightness alone tells defective test images (mostly {_range(defective)} "
            f"of 255) from good ones ({_range(good)}), AUROC {max(brighter, 1 - brighter):.2f}; "
            "image AUROC may be of the light, look at pixel metrics"
        )
    return lines


def _share_brighter(some: Sequence[float], others: Sequence[float]) -> float | None:
    """AUROC of brightness for some [N] against others [M]; None unless it tells them apart."""
    if min(len(some), len(others)) < _FEWEST:
        return None
    found = image_auroc([*others, *some], [0] * len(others) + [1] * len(some))
    return found if max(found, 1 - found) > _APART else None


def _range(values: Sequence[float]) -> str:
    """Of all but the highest and the lowest 5 %."""
    low, high = np.quantile(values, (0.05, 0.95))
    return f"{low:.0f} to {high:.0f}"


def shape_line(samples: Iterable[Sample]) -> list[str]:
    """One line on images of several proportions, as they are seen; it reads heads of files."""
    found = [seen for sample in samples if (seen := seen_size(sample.image))]
    shapes: Counter[tuple[int, int]] = Counter()  # of alike ones by the commonest size
    for size, count in Counter((width, height) for width, height, _ in found).most_common():
        shapes[next((known for known in shapes if _are_alike(known, size)), size)] += count
    if len(shapes) < 2:
        return []
    common = shapes.most_common(_NAMED_SHAPES)
    told = ", ".join(f"{width}×{height} ({count})" for (width, height), count in common)
    if rest := len(found) - sum(count for _, count in common):
        told += f", others ({rest})"
    if turned := sum(is_turned for *_, is_turned in found):
        told += f"; EXIF turns {turned} of them"
    return [
        f"images of different shapes: {told}; each is squeezed into a square, so that a part gets "
        "other proportions: cut all to one shape"
    ]


def _are_alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    ratio = one[0] * other[1] / (one[1] * other[0])
    return 1 / _ALIKE < ratio < _ALIKE


def turned_line(samples: Iterable[Sample]) -> list[str]:
    """One line on images that their EXIF orientation turns and their mask does not tell of."""
    pairs = [(sample.image, sample.mask) for sample in samples if sample.mask]
    found = [image for image, mask in pairs if orientation(image) != orientation(mask)]
    if not found:
        return []
    return [
        f"{found[0]} is turned by its EXIF orientation {orientation(found[0])} and its mask is not "
        f"({len(found)} of {len(pairs)} images with a mask); if the masks were drawn on the stored "
        "pixels, save the images without it"
    ]
