"""docs/hyperparameters.md: every number of the methods, in the paper, the official code and here.

`python tools/hyperparameters.py` writes it; a test compares.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffad_lib.files import write_text
from diffad_lib.methods import method_names
from diffad_lib.methods.method import (
    AS_THE_CODE,
    OFFICIAL_CODE,
    UNKNOWN,
    Method,
    Published,
    find_method,
)
from diffad_lib.plans import Budget

PAGE = Path(__file__).resolve().parents[1] / "docs" / "hyperparameters.md"
HEAD = f"""# Hyper-parameters

Every number of the published methods: in the paper, in its official code, in our `paper` budget, \
and with `--variant {OFFICIAL_CODE}`. `tools/hyperparameters.py` makes this page from the budgets, \
the variants and `published.py` beside each method; a test compares.

{UNKNOWN}: not told, or told where we could not look. We could not look into the two papers \
themselves: their values are those that our source note, reading notes and other implementations \
quote, and where they are silent, ours are the code's. **Bold**: ours is not what the first of \
paper and code tells. The learning rates of the source note are the paper's. What has no `key` \
cannot be set.
"""


def page() -> str:
    """The whole page."""
    methods = [find_method(name) for name in method_names()]
    told = [line for method in methods if method.published for line in _section(method)]
    return "\n".join([HEAD, *told])


def _section(method: Method) -> Iterator[str]:
    budget = method.budget("paper")
    official = budget.with_settings(method.departures(OFFICIAL_CODE))
    yield f"## {method.title}\n"
    yield f"| what | paper | official code | ours | with `{OFFICIAL_CODE}` | where |"
    yield "|---|---|---|---|---|---|"
    sections = budget.setting_keys()
    for key, one in method.published.items():
        ours, varied = one.ours, one.ours
        if key in sections:
            ours, varied = (_text(_value(each, key)) for each in (budget, official))
        cells = [_text(one.paper), _text(one.code), _marked(ours, one), varied, one.where]
        yield f"| {f'`{key}`' if key in sections else key} | {' | '.join(cells)} |"
    yield "\n| variant | what it changes | settings | of the official code | source |"
    yield "|---|---|---|---|---|"
    for name, variant in method.variants.items():
        settings = ", ".join(f"`{key}={_text(value)}`" for key, value in variant.settings.items())
        cells = [variant.sentence, settings, "yes" if variant.official else "no", variant.source]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""


def _value(budget: Budget, key: str) -> Any:
    return getattr(getattr(budget, budget.setting_keys()[key]), key)


def _marked(ours: str, one: Published) -> str:
    told = [_text(value) for value in (one.paper, one.code) if value != UNKNOWN]
    if ours == AS_THE_CODE:
        return ours if len(set(told)) == 1 else f"**{ours}**"
    return ours if told[:1] == [ours] else f"**{ours}**"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    write_text(PAGE, page())
