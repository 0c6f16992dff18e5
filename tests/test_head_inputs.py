"""The record of heads with four inputs, and what its tool shows them and counts."""

from collections import Counter
from itertools import product
from types import SimpleNamespace

import torch

import head_alone
import head_inputs
from diffad_lib.course.shipped import shipped_record, shipped_rows
from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.types import Prediction, TrainingBatch

CELLS = product(head_alone.CATEGORIES, head_alone.SEEDS, ("synthetic", "defects"))


def test_the_record_has_each_head_once_after_the_steps_of_the_tool():
    found = Counter(
        (row["category"], row["seed"], row["set"], row["head"])
        for row in shipped_rows("head_inputs")
    )
    heads = head_inputs.inputs(torch.zeros_like)
    assert found == {(*cell, head): 1 for cell in CELLS for head in heads}
    assert {*shipped_record("head_inputs")["steps"].values()} == {head_inputs.STEPS}


def test_the_head_that_sees_the_image_is_the_same_training_in_the_other_record():
    """Where the steps are equal too: same seeds, batches and library, on the same machine."""

    def of(record, head):
        rows = [row for row in shipped_rows(record) if row["head"] == head]
        return {(r["seed"], r["set"]): r["pixel_ap"] for r in rows if r["category"] == "bracket"}

    assert shipped_record("head_alone")["steps"]["bracket"] == head_inputs.STEPS
    assert of("head_inputs", "image") == of("head_alone", "image alone")


def test_what_a_head_sees_through_stays_as_it_is():
    rebuild = torch.nn.BatchNorm2d(3).eval()
    head = head_alone.Head(DraemSettings(), torch.nn.Conv2d(3, 2, 1), rebuild).train()
    head.training_losses(TrainingBatch(*torch.rand(2, 2, 3, 8, 8), torch.zeros(2, 1, 8, 8)))
    assert not rebuild.training and rebuild.num_batches_tracked == 0
    assert [*head.parameters()] == [*head.network.parameters()]


def test_each_head_sees_what_its_name_says():
    images = torch.rand(2, 3, 8, 8)
    seen = {
        name: (see(images), channels)
        for name, (see, channels) in head_inputs.inputs(lambda x: 1 - x).items()
    }
    assert all(found.shape[1] == channels for found, channels in seen.values())
    assert torch.equal(seen["image"][0], images)
    assert torch.equal(seen["reconstruction"][0], 1 - images)
    torch.testing.assert_close(seen["difference"][0], (2 * images - 1).abs())
    assert torch.equal(seen["both"][0], torch.cat([1 - images, images], dim=1))


def test_copies_of_an_image_are_compared_with_it_and_drawn_together():
    """A head that scores the brightness: good images differ in it more than by an anomaly."""
    good = torch.linspace(0.1, 0.9, 30)[:, None, None, None].expand(-1, 3, 4, 4)
    mask, change = torch.zeros(30, 1, 4, 4), torch.zeros(30, 1, 1, 1)
    for image, step in {1: 0.01, 4: 0.01, 6: -0.01, 9: 0.01}.items():
        mask[image::10], change[image::10] = 1, step
    times = (head_alone.DRAWS, 1, 1, 1)
    sets = {
        "synthetic": ((good + change).repeat(times), mask.repeat(times)),
        "defects": (good, mask),
    }
    head = SimpleNamespace(predict=lambda x: Prediction(x.mean(dim=(1, 2, 3)), x[:, :1]))
    found = head_inputs.copies(head, sets, good.repeat(times))
    assert found["lowered"] == 0.25
    (low, high), (lowest, highest) = found["copies_apart"], found["copies_together"]
    assert lowest < low - 0.1 and high + 0.1 < highest
