"""The methods: every module and package here but `method` is one, and defines METHOD."""

import pkgutil


def method_names() -> list[str]:
    """Names of the methods, in alphabetical order. Imports none of them."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "method")
