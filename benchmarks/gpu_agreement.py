"""Whether a CPU and a GPU compute the same: reconstruction, map, score and losses of a detector."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from diffad_lib.detector import Detector
from diffad_lib.runs import experiment as ex
from diffad_lib.runs.config import RunConfig
from diffad_lib.types import TrainingBatch

TOLERANCE = 1e-3  # in full float32


class SameDraws(TorchFunctionMode):
    """Random numbers from one CPU generator wherever they are asked for, so that devices agree."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("generator")
        if asked is None:
            return func(*args, **kwargs)
        device = kwargs.get("device") or asked.device
        return func(*args, **kwargs | {"generator": self.generator, "device": "cpu"}).to(device)


def awakened(detector: Detector) -> Detector:
    """An untrained detector whose output depends on all of its weights, in evaluation mode.

    Weights that begin with zero get small values, and batch norms the statistics of a batch: with
    those they begin with, what deep layers compute would vanish.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), SameDraws():
        for weight in detector.parameters():
            if not weight.any():
                weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
        for module in detector.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        detector.train().training_losses(a_batch(detector, torch.device("cpu")))
    return detector.eval()


def a_batch(detector: Detector, device: torch.device) -> TrainingBatch:
    """Two images of noise, the first one with an anomaly, the same on every device."""
    side, generator = detector.settings.image_size, torch.Generator().manual_seed(1)
    normal = torch.rand(2, 3, side, side, generator=generator)
    mask = torch.zeros(2, 1, side, side)
    mask[0, :, side // 4 : side // 2, side // 4 : side // 2] = 1
    image = torch.where(mask > 0, 1 - normal, normal)
    normal, image, mask = (one.to(device) for one in (normal, image, mask))
    return TrainingBatch(normal, image, mask, torch.Generator(device).manual_seed(0))


def answers(detector: Detector, device: torch.device) -> dict[str, torch.Tensor]:
    """Forward, scores and losses of two images on a device, in float32 on the CPU."""
    batch = a_batch(detector, device)
    detector.to(device)
    with torch.no_grad(), SameDraws():
        found = detector.predict(batch.image, torch.Generator().manual_seed(0))
        terms = detector.training_losses(batch)
    told = {"reconstruction": found.reconstruction, "map": found.anomaly_map}
    told |= {"score": found.image_score, "losses": torch.stack([*terms.values()])}
    return {name: value.float().cpu() for name, value in told.items() if value is not None}


def check_agreement(config: RunConfig, device: torch.device) -> list[dict[str, Any]]:
    """Largest differences of CPU and device, in full float32 and on a GPU with TF32 too.

    Those of losses are shares. Only full float32 is judged.
    """
    detector = awakened(ex.new_detector(config))
    here, rows = answers(detector, torch.device("cpu")), []
    for tf32 in (False, True) if device.type == "cuda" else (False,):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        row: dict[str, Any] = {"method": config.method, "tf32": tf32, "problem": None}
        for name, there in answers(detector, device).items():
            scale = here[name].abs().clamp(min=1e-6) if name == "losses" else 1.0
            row[name] = float(((here[name] - there).abs() / scale).max())
        wrong = [name for name in here if not row[name] <= TOLERANCE]
        if wrong and not tf32:
            row["problem"] = f"{config.method}: CPU and GPU differ in {', '.join(wrong)}"
        rows.append(row)
    torch.backends.cuda.matmul.allow_tf32 = False  # as PyTorch begins, and a run keeps it
    torch.backends.cudnn.allow_tf32 = True
    return rows
