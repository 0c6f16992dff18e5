"""What a method is, and finding the methods that lie beside this file."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError, nearest
from diffad_lib.methods import method_names
from diffad_lib.plans import Budget, Variant
from diffad_lib.settings import BudgetName, DetectorSettings, Settings

OFFICIAL_CODE = "official-code"  # the variant that turns all of a method's official ones on


@dataclass(frozen=True)
class OfficialFiles:
    """Checkpoints of the official code.

    load: detector from the files; settings that the files do not tell may be changed. export: to
    the files; raises DiffadError if the official code cannot build such a network.
    """

    names: tuple[str, ...]  # of its files, in the order in which both functions take their paths
    load: Callable[[Sequence[Path], Mapping[str, Any]], Detector]
    export: Callable[[Any, Sequence[Path]], None]


# In a published recipe: not told, or told where we could not look; and what ours is, if the same.
UNKNOWN, AS_THE_CODE = "–", "as the code"


@dataclass(frozen=True)
class Published:
    """What the paper and its official code have for a setting, or for what cannot be set here."""

    paper: Any
    code: Any
    where: str  # both say so
    ours: str = ""  # only of what is no setting


@dataclass(frozen=True)
class Method:
    """A method: its detector, that one's settings, and their values at every budget."""

    title: str
    detector: type[Detector]  # built from settings; weights from PyTorch's global generator
    settings: type[DetectorSettings]
    budgets: Mapping[BudgetName, Budget]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    official: OfficialFiles | None = None
    published: Mapping[str, Published] = field(default_factory=dict)  # by setting, or by what it is

    def __post_init__(self) -> None:
        """Sections have one type at every budget, so that a record can be read by its method."""
        kinds = {tuple(type(section) for _, section in one) for one in self.budgets.values()}
        if len(kinds) != 1:
            raise TypeError(f"{self.title}: the budgets' sections have different types")

    def section_types(self) -> dict[str, type[Settings]]:
        """What each section of a configuration with this method is."""
        return {name: type(section) for name, section in next(iter(self.budgets.values()))}

    def budget(self, name: str) -> Budget:
        """A budget by its name; DiffadError names the nearest one."""
        for key, budget in self.budgets.items():
            if key == name:
                return budget
        raise DiffadError(f'--budget "{name}" is not known; {nearest(name, self.budgets)}')

    def setting_keys(self) -> set[str]:
        """Keys of all that can be set of a run with this method."""
        return set(next(iter(self.budgets.values())).setting_keys())

    def departures(self, name: str) -> dict[str, Any]:
        """Settings that a variant changes, or all the official ones; DiffadError if unknown."""
        if name == OFFICIAL_CODE:
            official = [variant for variant in self.variants.values() if variant.official]
            if not official:
                raise DiffadError(f'--variant "{name}": no official code of {self.title} exists')
            return {key: value for v in official for key, value in v.settings.items()}
        if name in self.variants:
            return dict(self.variants[name].settings)
        if any(name in find_method(other).variants for other in method_names()):
            raise DiffadError(f'--variant "{name}" does not concern method {self.title}')
        known = [*self.variants, OFFICIAL_CODE]
        raise DiffadError(f'--variant "{name}" is not known; {nearest(name, known)}')


def find_method(name: str) -> Method:
    """The METHOD of the module or package `name` beside this file; DiffadError if unknown."""
    if name not in method_names():
        raise DiffadError(f'--method "{name}" is not known; {nearest(name, method_names())}')
    method: Method = importlib.import_module(f"diffad_lib.methods.{name}").METHOD
    return method


def method_of(detector: Detector) -> str:
    """The name of the method whose detector it is; DiffadError for a class of no method."""
    for name in method_names():
        if find_method(name).detector is type(detector):
            return name
    raise DiffadError(f"{type(detector).__name__} is the detector of no method in methods/")
