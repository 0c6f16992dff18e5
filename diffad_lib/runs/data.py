"""The data of a run: where it lies, what is in it, and early checks that it is there."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from diffad_lib.datasets.catalog import category_kind, find_dataset
from diffad_lib.datasets.dataset import Kind
from diffad_lib.datasets.decode import mask_doubt
from diffad_lib.datasets.doubts import look_lines, looks_of, shape_line, turned_line
from diffad_lib.datasets.folders import files_below, in_any_form, is_folder, subfolders
from diffad_lib.datasets.images import ImageStack, fingerprint, image_digests, load_split
from diffad_lib.datasets.inventory import (
    copies_line,
    count_parts,
    named_bad_line,
    official_counts,
    one_sided_line,
    other_counts,
    take_inventory,
    twice_line,
    unread_line,
)
from diffad_lib.datasets.layouts import category_folder, scan_folder, usable_samples
from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import Sample, Scan
from diffad_lib.errors import DiffadError
from diffad_lib.mini import MINI_CATEGORIES, is_mini, make_mini
from diffad_lib.plans import MINI
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.device import check_device
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.record import Data, SplitFacts
from diffad_lib.synthesis.mask_folder import OFFICIAL_FOLDER
from diffad_lib.synthesis.synthesizer import SynthesisSettings
from diffad_lib.synthesis.textures import texture_files, texture_samples

_MOST_FILES = 3000  # of a split, that a record names one by one
_TEXTURES, _FOREGROUNDS = "--textures", "foreground_folder"
MINI_ROOT = project_root() / "data" / "mini"
MINI_LINE = (
    f"budget mini is for the drawn data of the course ({MINI['image_size']} px); on other data "
    "take --budget laptop or paper"
)


def check_inputs(config: RunConfig) -> None:
    """Look for all that a run reads, decoding nothing; DiffadError names what is missing.

    Also if a file of the test set lies in the folder of textures or of foreground masks.
    """
    check_device(config)
    _splits(config, *_found(config))


def what_is_read(config: RunConfig, loaded: Sequence[ImageStack] = ()) -> Data:
    """All that a run reads or leaves, with doubts; decodes nothing. DiffadError as `load_data`.

    loaded: what `load_data` gave, if it was called, so that no file is hashed again; without it
    neither masks nor colours nor light are doubted.
    """
    folder, scan = _found(config)
    splits: list[tuple[Sequence[Sample], str, dict[str, str]]] = [
        (stack.samples, stack.fingerprint, stack.files) for stack in loaded
    ] or [_identity(samples) for samples in _splits(config, folder, scan)]
    train, test = splits
    images = [image_digests(samples, files) for samples, _, files in splits]
    given = _given_folders(config)
    others = {option: _identity(texture_samples(place)) for option, place in given.items()}
    if textures := others.get(_TEXTURES):
        # Not foreground masks: one may well hold the same pixels as the mask of a defect.
        _check_apart(_TEXTURES, textures[2], {*test[2].values()})
    if masks := given.get(_FOREGROUNDS):
        scan.others |= dict.fromkeys(files_below(masks), "foreground mask")
    inventory = take_inventory(folder, scan)
    is_drawn = is_mini(config.data_root or MINI_ROOT)
    categories = {} if is_drawn else find_dataset(config.dataset).categories
    info = categories.get(config.category)
    notes = [*scan.notes, *one_sided_line(scan.samples), *named_bad_line(scan.samples)]
    notes += unread_line(inventory)
    if place := config.textures:
        unread = unread_line(take_inventory(place, Scan(texture_samples(place))), hint="")
        notes += [f"{_TEXTURES} {place}: {line}" for line in unread]
    if counts := other_counts(count_parts(scan.samples), info):
        notes.append("; ".join(counts))
    notes += [*copies_line(*images), *twice_line(images[1]), *turned_line(scan.samples)]
    notes += shape_line(sample for samples, *_ in splits for sample in samples)
    looks = [pair for stack in loaded for pair in looks_of(stack)]
    notes += look_lines(looks)
    notes += _setting_lines(config, is_drawn)
    if doubts := _mask_doubts(loaded[1]) if loaded else []:
        notes.append(f"{doubts[0][1]} ({len(doubts)} doubtful masks)")
    grey = sum(look.is_grey for sample, look in looks if sample.split == "train")
    return Data(
        train=_facts(*train, grey=grey if loaded else None),
        test=_facts(*test),
        textures=_facts(*others[_TEXTURES]) if _TEXTURES in others else None,
        foregrounds=_facts(*others[_FOREGROUNDS]) if _FOREGROUNDS in others else None,
        inventory=inventory,
        catalog=official_counts(info),
        notes=notes,
    )


def _setting_lines(config: RunConfig, is_drawn: bool) -> Iterator[str]:
    """What a training does otherwise than the papers do; is_drawn: its data are the mini data."""
    if config.weights is not None:
        return
    if config.budget == "mini" and not is_drawn:
        yield MINI_LINE
    how = config.synthesis
    if not isinstance(how, SynthesisSettings):
        return
    if config.textures is None and not is_drawn:
        yield (
            "anomalies are made from drawn textures; the papers take photographs: give a folder of "
            "them with --textures"
        )
    if how.foreground_folder is not None and foreground_folder(config) is None:
        yield f"{_FOREGROUNDS} is not read: a texture takes no masks"
    if how.foreground == "none" and foreground_folder(config) is not None:
        yield (
            f"{_FOREGROUNDS}: anomalies are cut to its masks although foreground=none; leave it "
            "out, and they lie anywhere"
        )


def _given_folders(config: RunConfig) -> dict[str, Path]:
    """Folders of images besides the data, by the option that names them."""
    folders = {_TEXTURES: config.textures, _FOREGROUNDS: foreground_folder(config)}
    return {option: folder for option, folder in folders.items() if folder is not None}


def _check_apart(option: str, given: Mapping[Any, str], test: Collection[str]) -> None:
    """DiffadError if a file that an option gives is one of the test set.

    given: what tells each file from others, by its path; test: the same of the test set.
    """
    if found := [path for path, identity in given.items() if identity in test]:
        raise DiffadError(
            f"{option} holds test images or masks of this category ({len(found)} of {len(given)} "
            f"files, such as {found[0]}); choose a folder without them"
        )


def _identity(samples: Sequence[Sample]) -> tuple[Sequence[Sample], str, dict[str, str]]:
    return samples, *fingerprint(samples)


def _facts(
    samples: Sequence[Sample], total: str, files: dict[str, str], grey: int | None = None
) -> SplitFacts:
    return SplitFacts(images=len(samples), fingerprint=total, files=_short(files), grey=grey)


def _short(files: dict[str, str]) -> dict[str, str]:
    """Digests of the files, or of the folders where the files are thousands, as in DTD."""
    if len(files) <= _MOST_FILES:
        return files
    folders: dict[str, list[str]] = {}
    for path, digest in sorted(files.items()):
        folders.setdefault(f"{Path(path).parent}/", []).append(f"{path} {digest}")
    return {
        name: blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()
        for name, lines in folders.items()
    }


def load_data(config: RunConfig) -> tuple[ImageStack, ImageStack]:
    """Training images (normal only) and test images of the category, at the run's size.

    DiffadError if most masks of a defect look wrong and the settings do not tell to go on.
    """
    splits, size = _splits(config, *_found(config)), config.detector.image_size
    how = config.evaluation
    train = load_split(splits[0], size, image_rule=how.image_rule)
    test = load_split(splits[1], size, mask_rule=how.mask_rule, image_rule=how.image_rule)
    doubts = _mask_doubts(test)
    masks = Counter(sample.defect for sample in test.samples if sample.mask)
    for defect, count in masks.items():  # if most of all are wrong, then most of one defect are
        wrong = [line for name, line in doubts if name == defect]
        if 2 * len(wrong) > count and not how.accept_masks:
            raise DiffadError(
                f'{wrong[0]} ({len(wrong)} of {count} masks of "{defect}", {len(doubts)} of '
                f"{masks.total()} in all). Mend them, or go on with --set accept_masks=true"
            )
    return train, test


def _mask_doubts(test: ImageStack) -> list[tuple[str, str]]:
    """Each mask that looks wrong: its defect, and a line."""
    pairs = zip(test.samples, test.masks[:, 0], strict=True)
    found = [(sample, mask_doubt(mask)) for sample, mask in pairs if sample.mask]
    return [(sample.defect, f"{sample.mask} {doubt}") for sample, doubt in found if doubt]


def load_normal(config: RunConfig) -> ImageStack:
    """Training images alone; it needs no test set."""
    _, scan = _found(config)
    train = [sample for sample in _samples(config, scan) if sample.split == "train"]
    rule = config.evaluation.image_rule
    return load_split(train, config.detector.image_size, image_rule=rule)


def data_root(given: Path | None) -> Path:
    """The folder with the data; without one the mini data (made once)."""
    if given is not None:
        return given
    make_mini(MINI_ROOT)
    return MINI_ROOT


def _found(config: RunConfig) -> tuple[Path, Scan]:
    """The category's folder and what lies in it; an error tells where it is of the mini data."""
    root = data_root(config.data_root)
    try:
        folder = category_folder(config.dataset, config.category, root)
    except DiffadError as error:
        if config.data_root is not None:
            raise
        told = "this is the mini data; give --data-root for yours"
        raise DiffadError(f"{error}; {told}") from error
    return folder, scan_folder(config.dataset, folder)


def foreground_folder(config: RunConfig) -> Path | None:
    """Where the masks of the category lie, also if the folder that was given holds several.

    None for a texture, which takes no masks.
    """
    folder: Path | None = getattr(config.synthesis, "foreground_folder", None)
    if folder is None or data_kind(config) == "texture":
        return None
    own = in_any_form(folder / config.category)
    return next(filter(is_folder, (own / OFFICIAL_FOLDER, own)), folder)


def data_kind(config: RunConfig) -> Kind:
    """ "texture" or "object"; of mini data also where its folder is given by hand."""
    told: Kind | Literal["auto"] = getattr(config.synthesis, "kind", "auto")
    if told != "auto":
        return told
    default = MINI_CATEGORIES.get((config.dataset, config.category), "object")
    return category_kind(config.dataset, config.category, default)


def _samples(config: RunConfig, scan: Scan) -> list[Sample]:
    """Samples of the category; DiffadError if an option gives a file of the test set to train on.

    Here a file is known by where it lies, also through links; copies `what_is_read` finds.
    """
    samples = usable_samples(scan)
    files = [(one.image, one.mask) for one in samples if one.split == "test"]
    test = {os.path.realpath(file) for pair in files for file in pair if file}
    for option, folder in _given_folders(config).items():
        paths = texture_files(folder, option)
        _check_apart(option, {path: os.path.realpath(path) for path in paths}, test)
    return samples


def _splits(config: RunConfig, folder: Path, scan: Scan) -> tuple[list[Sample], list[Sample]]:
    """Training and test samples; that either is empty is an error."""
    samples = _samples(config, scan)
    train = [sample for sample in samples if sample.split == "train"]
    test = [sample for sample in samples if sample.split == "test"]
    for name, chosen in (("train", train), ("test", test)):
        if not chosen:
            there = subfolders(folder)
            advice = f"add a {name} folder, or rename the one that holds them"
            if name in there:
                advice = f"put them into folders in {name}, such as {name}/{GOOD}"
            told = f"has no {name} images (folders there: {', '.join(there) or 'none'})"
            unread = unread_line(take_inventory(folder, scan))
            raise DiffadError("; ".join([f"{folder}: {told}", advice, *unread]))
    if config.training.select_on_test_epochs is not None:
        _check_selectable(folder, test)
    return train, test


def _check_selectable(folder: Path, test: Sequence[Sample]) -> None:
    """DiffadError where no weights could be selected: image or pixel AUROC would be undefined."""
    needed = {
        "good image": any(sample.label == 0 for sample in test),
        "mask of a defect": any(sample.mask for sample in test),
    }
    if missing := " and no ".join(name for name, is_there in needed.items() if not is_there):
        raise DiffadError(
            f"select_on_test_epochs: weights are selected by image and pixel AUROC, but the test "
            f"set in {folder} has no {missing}; add them, or --set select_on_test_epochs=null"
        )
