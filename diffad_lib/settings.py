"""The strict base of everything that can be set, and what every detector's settings have."""

from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from diffad_lib.errors import DiffadError, nearest, one_line, short_repr
from diffad_lib.files import is_too_long, is_utf8

BudgetName = Literal["mini", "laptop", "paper"]


class Settings(BaseModel):
    """Frozen values with a range and a sentence at each field.

    Raises DiffadError, in one line, for an unknown key, a wrong type and a value out of range.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise DiffadError(self._told(error.errors()[0])) from None

    def but(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again."""
        return type(self)(**(dict(self) | changes))

    @field_validator("*", mode="before")
    @classmethod
    def _check_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses what Pydantic would take: true as 1, and text that no JSON file can hold."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        parts = value if isinstance(value, list) else [value]
        if annotation is not bool and any(isinstance(part, bool) for part in parts):
            raise PydanticCustomError("truth_value", "Input should not be true or false")
        if isinstance(value, int) and _is_text(annotation):
            return str(value)  # `--set precision=32` and a folder called 2024 are text
        if value == "" and _is_text(annotation):
            raise PydanticCustomError("empty", "Input should not be empty")
        if isinstance(value, str | Path) and not is_utf8(value):
            raise PydanticCustomError("not_utf8", "Input should be UTF-8; rename the folder")
        if isinstance(value, str | Path) and is_too_long(value):
            raise PydanticCustomError("too_long", "Input should be shorter, as a name on disk is")
        return value

    @classmethod
    def _told(cls, error: ErrorDetails) -> str:
        """One line on a problem that Pydantic found."""
        key = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            return f'"{one_line(key)}" is not a setting; {nearest(key, cls.model_fields)}'
        if error["type"] == "missing":
            return f"{key} is missing; set it"
        if not key:
            return error["msg"].removeprefix("Value error, ")
        return f"{key}: {error['msg']} (got {short_repr(error['input'])})"


def setting(default: Any, sentence: str, **limits: Any) -> Any:
    """A field of Settings: its default (... where there is none), what it means, its range."""
    return Field(default, description=sentence, **limits)


class DetectorSettings(Settings):
    """What the settings of every detector have; a method adds its own."""

    image_size: int = setting(256, "side of the images, pixels", ge=16, le=4096, multiple_of=8)

    def with_least_memory(self) -> Self:
        """The settings that train the same detector in the least memory; most have one way."""
        return self


def _is_text(annotation: Any) -> bool:
    kinds = set(get_args(annotation)) or {annotation}
    return all(kind in (str, Path, type(None)) or isinstance(kind, str) for kind in kinds)
