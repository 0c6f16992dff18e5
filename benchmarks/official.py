"""The official code of a checkout that the user gives, imported as it is.

Nothing of it is part of this repository. Of torchvision DDPM.py makes a blur and never calls it, so
a module with nothing else stands in for it. Of train.py, whose other imports this project does not
have, one class alone is read.
"""

import ast
import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.ImageOps
import torch
from torch import Tensor, nn

from benchmarks.measure import Action
from diffad_lib.errors import DiffadError
from diffad_lib.methods.draem.detector import initialise

DRAEM_RATE = 1e-4  # learning rate, README.md
_NUMPY_KINDS = {"int": np.signedinteger, "uint": np.unsignedinteger, "float": np.floating}
_STAND_INS = ("torchvision", "torchvision.transforms")


@contextlib.contextmanager
def _importable(checkout: Path) -> Iterator[None]:
    """Modules of the checkout can be imported, and their names are forgotten after."""
    before = set(sys.modules)
    stand_ins = [name for name in _STAND_INS if name not in sys.modules]
    for name in stand_ins:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name])["GaussianBlur"] = nn.Identity  # takes any settings
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None)
            if name in stand_ins or (place and Path(place).is_relative_to(checkout)):
                del sys.modules[name]


def load(checkout: Path, name: str) -> Any:
    """A module of the checkout; DiffadError if it is not there."""
    checkout = checkout.resolve()
    if not (checkout / f"{name.replace('.', '/')}.py").is_file():
        raise DiffadError(f"{checkout} has no {name.replace('.', '/')}.py; give a checkout of it")
    with _importable(checkout):
        return importlib.import_module(name)


def load_class(checkout: Path, name: str, wanted: str, **names: Any) -> Any:
    """One class of a module whose other parts cannot be imported; names: what the class uses."""
    source = (checkout / f"{name}.py").read_text(encoding="utf-8")
    found = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == wanted
    ]
    if not found:
        raise DiffadError(f"{checkout / name}.py has no class {wanted}; give another checkout")
    exec(compile(ast.Module([*found], []), f"{name}.py", "exec"), names)
    return names[wanted]


@contextlib.contextmanager
def _old_imgaug() -> Iterator[None]:
    """imgaug 0.4 works with the NumPy of today: it asks for a list of types that is gone, and
    gives Pillow an array of one number where a number is wanted.
    """
    contrast = PIL.ImageOps.autocontrast

    def autocontrast(image: Any, cutoff: Any = 0, **rest: Any) -> Any:
        return contrast(image, np.asarray(cutoff).item(), **rest)

    kinds = {name: [kind for kind in np.sctypeDict.values() if issubclass(kind, base)]
             for name, base in _NUMPY_KINDS.items()}  # fmt: skip
    with (
        mock.patch.object(np, "sctypes", kinds, create=True),
        mock.patch.object(PIL.ImageOps, "autocontrast", autocontrast),
    ):
        yield


def _seed_imgaug(seed: int) -> None:
    """DiffadError where imgaug is not installed."""
    try:
        importlib.import_module("imgaug").seed(seed)
    except ModuleNotFoundError as error:
        raise DiffadError(
            f"the official data loading needs imgaug ({error}); install imgaug==0.4.0 beside"
        ) from None


def draem_networks(checkout: Path, width: int, head_width: int) -> tuple[nn.Module, nn.Module]:
    """DRAEM's two networks at base widths."""
    unet = load(checkout, "model_unet")
    reconstruct = unet.ReconstructiveSubNetwork(3, 3, base_width=width)
    return reconstruct, unet.DiscriminativeSubNetwork(6, 2, base_channels=head_width)


def draem_step(checkout: Path, widths: tuple[int, int], batch: tuple[Tensor, ...]) -> Action:
    """A training step, as train_DRAEM.py does it; batch: normal, anomalous images, masks."""
    reconstruct, head = (one.to(batch[0].device) for one in draem_networks(checkout, *widths))
    update, _ = _draem_update(checkout, (reconstruct, head))
    return lambda: update(*batch)


def _draem_update(
    checkout: Path, networks: tuple[nn.Module, nn.Module]
) -> tuple[Callable[[Tensor, Tensor, Tensor], None], torch.optim.Optimizer]:
    """Losses and update of the weights with normal, anomalous images and masks; the optimiser."""
    reconstruct, head = networks
    loss = load(checkout, "loss")
    device = next(head.parameters()).device
    with mock.patch.object(Tensor, "cuda", lambda one: one.to(device)):  # when the loss is made
        squared, structure, focal = nn.MSELoss(), loss.SSIM(), loss.FocalLoss()
    parameters = [*reconstruct.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=DRAEM_RATE)

    def update(normal: Tensor, anomalous: Tensor, mask: Tensor) -> None:
        made = reconstruct(anomalous)
        told = head(torch.cat((made, anomalous), dim=1)).softmax(dim=1)
        total = squared(made, normal) + structure(made, normal) + focal(told, mask)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return update, optimizer


@torch.no_grad()
def _draem_maps(networks: tuple[nn.Module, nn.Module], images: Tensor) -> tuple[Tensor, Tensor]:
    """Scores [B] and maps [B,1,H,W] of images, as test_DRAEM.py computes them."""
    reconstruct, head = (one.eval() for one in networks)
    maps = head(torch.cat((reconstruct(images), images), dim=1)).softmax(dim=1)[:, 1:]
    return nn.functional.avg_pool2d(maps, 21, 1, 10).flatten(1).amax(1), maps


def draem_samples(
    checkout: Path, train: Path, textures: Path, size: int, seed: int
) -> Callable[[int], dict[str, Tensor]]:
    """Batches of a number of images, as the data loading of train_DRAEM.py draws them."""
    if not any(textures.glob("*/*.jpg")):
        raise DiffadError(f"{textures}: has no */*.jpg; give the folder with DTD's folders")
    np.random.seed(seed)  # noqa: NPY002 - what the official code draws from
    with _old_imgaug():
        _seed_imgaug(seed)
        loader = load(checkout, "data_loader")
    dataset = loader.MVTecDRAEMTrainDataset(f"{train}/", str(textures), [size, size])

    def draw(count: int) -> dict[str, Tensor]:
        with _old_imgaug():
            return torch.utils.data.default_collate([dataset[0] for _ in range(count)])

    return draw


def draem_training(
    checkout: Path,
    widths: tuple[int, int],
    train: Path,
    textures: Path,
    size: int,
    batch_size: int,
    seed: int,
) -> tuple[Callable[[float], None], Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """A training as train_DRAEM.py makes it, its data loading included, which draws its images.

    A step, which is told the share of the training that is spent; and scores [B] and maps
    [B,1,H,W] of images [B,3,H,W] in [0,1], BGR.
    """
    torch.manual_seed(seed)
    networks = draem_networks(checkout, *widths)
    for network in networks:
        network.apply(initialise)
    draw = draem_samples(checkout, train, textures, size, seed)
    update, optimizer = _draem_update(checkout, networks)

    def step(share: float) -> None:
        for group in optimizer.param_groups:  # after 80 % and 90 % of the epochs
            group["lr"] = DRAEM_RATE * 0.2 ** ((share >= 0.8) + (share >= 0.9))
        for network in networks:
            network.train()
        drawn = draw(batch_size)
        update(drawn["image"], drawn["augmented_image"], drawn["anomaly_mask"])

    return step, lambda images: _draem_maps(networks, images)


def draem_test(checkout: Path, widths: tuple[int, int], images: Tensor) -> Action:
    """The scores of images, as test_DRAEM.py computes them."""
    reconstruct, head = (one.to(images.device) for one in draem_networks(checkout, *widths))
    return lambda: _draem_maps((reconstruct, head), images)[0]


def diffusionad_networks(
    checkout: Path, size: int, width: int, head_width: int
) -> tuple[nn.Module, nn.Module, Any]:
    """DiffusionAD's two networks and its diffusion."""
    ddpm = load(checkout, "models.DDPM")
    unet = load(checkout, "models.Recon_subnetwork").UNetModel(
        size, width, channel_mults="", dropout=0, n_heads=4, n_head_channels=-1, in_channels=3
    )
    head = load(checkout, "models.Seg_subnetwork").SegmentationSubNetwork(
        in_channels=6, out_channels=1, base_channels=head_width
    )
    betas = ddpm.get_beta_schedule(1000, "linear")
    diffusion = ddpm.GaussianDiffusionModel(
        [size, size], betas, loss_weight="none", loss_type="l2", noise="gauss", img_channels=3
    )
    return unet, head, diffusion


_TIMES = {"less_t_range": 300, "condition_w": 1}


def diffusionad_step(
    checkout: Path, size: int, widths: tuple[int, int], batch: tuple[Tensor, ...]
) -> Action:
    """A training step, as train.py does it; batch: anomalous images, masks."""
    unet, head, diffusion = diffusionad_networks(checkout, size, *widths)
    unet.to(batch[0].device)
    head.to(batch[0].device)
    of_unet = torch.optim.Adam(unet.parameters(), lr=1e-4)
    of_head = torch.optim.Adam(head.parameters(), lr=1e-5)
    smooth = nn.SmoothL1Loss()
    focal = load_class(checkout, "train", "BinaryFocalLoss", nn=nn, F=nn.functional, torch=torch)()
    images, masks = batch
    labels = masks.flatten(1).amax(1)

    def step() -> None:
        noise_loss, made, *_ = diffusion.norm_guided_one_step_denoising(
            unet, images, labels, _TIMES
        )
        told = head(torch.cat((images, made), dim=1))
        of_unet.zero_grad()
        of_head.zero_grad()
        (noise_loss + 5 * focal(told, masks) + smooth(told, masks)).backward()
        of_unet.step()
        of_head.step()

    return step


def diffusionad_test(checkout: Path, size: int, widths: tuple[int, int], images: Tensor) -> Action:
    """The scores of images, as eval.py computes them at t = 200 and 400."""
    unet, head, diffusion = diffusionad_networks(checkout, size, *widths)
    unet.eval().to(images.device)
    head.eval().to(images.device)
    normal_t, noisier_t = (images.new_full((len(images),), t).long() for t in (200, 400))

    @torch.no_grad()
    def test() -> Tensor:
        made = diffusion.norm_guided_one_step_denoising_eval(
            unet, images, normal_t, noisier_t, _TIMES
        )[1]
        return head(torch.cat((images, made), dim=1)).flatten(1).topk(50).values.mean(1)

    return test


def perlin(checkout: Path, size: int) -> Action:
    """A Perlin field of 8 × 8 cells, as data_loader.py asks for it; it turns it after."""
    make = load(checkout, "perlin").rand_perlin_2d_np
    return lambda: make((size, size), (8, 8))
