"""Exercises of notebook 06, anomaly synthesis."""

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import first_for_all, per_image

# 06.1: the slope of the quintic fade


def fade_slope(u: Tensor) -> Tensor:
    """30 u² (1 - u)², the derivative of 6u⁵ - 15u⁴ + 10u³."""
    return 30 * u**2 * (1 - u) ** 2


def _places(generator: torch.Generator) -> list[Arguments]:
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    return [(ends,), *((torch.rand(n, generator=generator).double(),) for n in (1, 20))]


_SLOPE = Exercise(
    "06.1",
    fade_slope,
    _places,
    (
        Mistake(
            "that is the fade itself; its slope is wanted.",
            lambda u: u**3 * (u * (6 * u - 15) + 10),
        ),
        Mistake("that is the slope of the cubic fade 3u² - 2u³.", lambda u: 6 * u * (1 - u)),
        Mistake(
            "the exponents went down, but they have to come before as factors too.",
            lambda u: 6 * u**4 - 15 * u**3 + 10 * u**2,
        ),
        Mistake(
            "that is the second derivative, the curvature: derive once only.",
            lambda u: 120 * u**3 - 180 * u**2 + 60 * u,
        ),
        Mistake(
            "one sign is off: the fourth power comes with a minus.",
            lambda u: 30 * u**4 + 60 * u**3 + 30 * u**2,
        ),
        Mistake(
            "the slope of a weight that grows from 0 to 1 cannot be negative: signs are turned.",
            lambda u: -fade_slope(u),
        ),
        Mistake("the form is right, a factor is missing.", lambda u: u**2 * (1 - u) ** 2),
    ),
)

# 06.2: the source that was pasted


def source_of(anomalous: Tensor, normal: Tensor, mask: Tensor, beta: Tensor) -> Tensor:
    """A = (I_a - β I) / (1 - β) inside the mask, 0 outside."""
    beta = per_image(beta)
    return mask * (anomalous - beta * normal) / (1 - beta)


def _source_with(formula: Function) -> Function:
    """A wrong inside of the mask, by a formula of (I_a, I, β)."""
    return lambda anomalous, normal, mask, beta: mask * formula(anomalous, normal, per_image(beta))


def _pasted(generator: torch.Generator) -> list[Arguments]:
    """B = W, so that a β on the wrong axis gives a picture and not an exception."""
    cases: list[Arguments] = []
    for batch in (1, 3, 5):
        normal, source = torch.rand(2, batch, 3, 4, batch, generator=generator)
        mask = (torch.rand(batch, 1, 4, batch, generator=generator) > 0.4).float()
        mask[:, :, 0], source[:, :, 0] = 1, normal[:, :, 0]  # the mask tells, not a change
        beta = 0.1 + 0.7 * torch.rand(batch, generator=generator)
        share = per_image(beta)
        blended = torch.where(mask > 0, (1 - share) * source + share * normal, normal)
        cases.append((blended, normal, mask, beta))
    return cases


_SOURCE = Exercise(
    "06.2",
    source_of,
    _pasted,
    (
        Mistake(
            "outside the mask nothing is known: give 0 there.",
            lambda a, n, mask, b: (a - per_image(b) * n) / (1 - per_image(b)),
        ),
        Mistake(
            "that still holds the image, which shows through by β: take β I off.",
            _source_with(lambda a, n, b: a),
        ),
        Mistake(
            "the rest is (1 - β) A, not A: its contrast is too small.",
            _source_with(lambda a, n, b: a - b * n),
        ),
        Mistake(
            "β and 1 - β are swapped: β is the share of the image.",
            _source_with(lambda a, n, b: (a - (1 - b) * n) / b),
        ),
        Mistake(
            "the whole image is taken off; only its share β is in there.",
            _source_with(lambda a, n, b: (a - n) / (1 - b)),
        ),
        Mistake(
            "the difference is divided by β; the source came in with the factor 1 - β.",
            _source_with(lambda a, n, b: (a - b * n) / b),
        ),
        Mistake(
            "multiplied by 1 - β where a division undoes it.",
            _source_with(lambda a, n, b: (a - b * n) * (1 - b)),
        ),
        Mistake(
            "the image is added where it has to be taken off.",
            _source_with(lambda a, n, b: (a + b * n) / (1 - b)),
        ),
        Mistake(
            "your β [B] varies along the width; reshape it to [B,1,1,1].",
            lambda a, n, mask, b: mask * (a - b * n) / (1 - b),
        ),
        first_for_all(source_of, "beta"),
    ),
)

# 06.3: the share of the anomalous pixels on the object


def share_on_object(masks: Tensor, foreground: Tensor) -> float:
    """|M ∩ F| / |M| over all pixels of the batch; 0 if no pixel is anomalous."""
    return _ratio((masks * foreground).sum(), masks.sum())


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part / whole).item() if whole > 0 else 0.0


def _mean_of_shares(masks: Tensor, foreground: Tensor) -> float:
    on, area = ((m.flatten(1).sum(dim=1)) for m in (masks * foreground, masks))
    return (on[area > 0] / area[area > 0]).mean().nan_to_num(0).item()


def _batches(generator: torch.Generator) -> list[Arguments]:
    """Masks of unlike size, some empty, and a batch without any anomaly."""
    first = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    cases: list[Arguments] = [tuple(part.reshape(1, 1, 2, 2) for part in first)]
    for batch in (3, 6):
        levels = torch.rand(batch, 1, 1, 1, generator=generator)
        levels[0] = 0.0
        masks = (torch.rand(batch, 1, 8, 8, generator=generator) < levels).float()
        object_ = (torch.rand(batch, 1, 8, 8, generator=generator) < 0.2 + 0.6 * levels).float()
        cases.append((masks, object_))
    return [*cases, (torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))]


_SHARE = Exercise(
    "06.3",
    share_on_object,
    _batches,
    (
        Mistake(
            "a mean over images: a speck weighs as much as a blotch. Count pixels.",
            _mean_of_shares,
        ),
        Mistake(
            "that is the share beside the object; the share on it is wanted.",
            lambda masks, foreground: _ratio((masks * (1 - foreground)).sum(), masks.sum()),
        ),
        Mistake(
            "divided by the area of the object: how much of the object is anomalous is another "
            "question.",
            lambda masks, foreground: _ratio((masks * foreground).sum(), foreground.sum()),
        ),
        Mistake(
            "divided by all pixels; only the anomalous ones count.",
            lambda masks, foreground: (masks * foreground).mean().item(),
        ),
        Mistake(
            "that is the object's share of the image; the mask is not used.",
            lambda masks, foreground: foreground.mean().item(),
        ),
        Mistake(
            "0 / 0 where a batch has no anomalous pixel: give 0 there.",
            lambda masks, foreground: ((masks * foreground).sum() / masks.sum()).item(),
        ),
        Mistake(
            "intersection over union; the union holds the object's normal pixels too.",
            lambda masks, foreground: _ratio(
                (masks * foreground).sum(), torch.maximum(masks, foreground).sum()
            ),
        ),
    ),
)

EXERCISES = (_SLOPE, _SOURCE, _SHARE)
