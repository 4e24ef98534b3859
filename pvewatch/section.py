"""What every part of the configuration is made of: the base model, and the types that several parts share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: unknown settings are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/[^\s]*)?", value):
        raise ValueError("write a full address such as http://127.0.0.1:9221")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
