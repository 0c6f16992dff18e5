"""DRAEM (arXiv 2108.07610; VitjanZ/DRAEM); README.md tells sources and departures."""

from diffad_lib.methods.draem.budgets import BUDGETS, VARIANTS
from diffad_lib.methods.draem.detector import Draem
from diffad_lib.methods.draem.official import OFFICIAL
from diffad_lib.methods.draem.published import PUBLISHED
from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.methods.method import Method

METHOD = Method("DRAEM", Draem, DraemSettings, BUDGETS, VARIANTS, OFFICIAL, PUBLISHED)
