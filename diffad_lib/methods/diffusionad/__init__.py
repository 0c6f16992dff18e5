"""DiffusionAD (arXiv 2303.08730; HuiZhang0812/DiffusionAD); README.md tells departures."""

from diffad_lib.methods.diffusionad.budgets import BUDGETS, VARIANTS
from diffad_lib.methods.diffusionad.detector import DiffusionAD
from diffad_lib.methods.diffusionad.official import OFFICIAL
from diffad_lib.methods.diffusionad.published import PUBLISHED
from diffad_lib.methods.diffusionad.settings import DiffusionADSettings
from diffad_lib.methods.method import Method

METHOD = Method(
    "DiffusionAD", DiffusionAD, DiffusionADSettings, BUDGETS, VARIANTS, OFFICIAL, PUBLISHED
)
