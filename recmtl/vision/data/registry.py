"""The one place where the name of a reader becomes a function.

A reader is a function `reader(folder, *, option=...)`. Its options are checked against its own
signature before a file is opened. To add a reader, write such a function and enter it in `READERS`.
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from recmtl.errors import ConfigError, did_you_mean
from recmtl.schema.reading import collect, with_lines
from recmtl.schema.settings import strict
from recmtl.schema.yaml_text import Problems
from recmtl.vision.data.adashare import (
    cityscapes_adashare,
    nyuv2_adashare,
    taskonomy_adashare,
)
from recmtl.vision.data.celeba import celeba
from recmtl.vision.data.examples import ImageSet
from recmtl.vision.data.mtan import cityscapes_mtan, nyuv2_mtan
from recmtl.vision.data.overlay import multi_fashion, multi_fashion_mnist, multi_mnist
from recmtl.vision.data.table import image_table

__all__ = ["READERS", "Reader", "check_options", "open_images"]

Reader = Callable[..., ImageSet]

READERS: dict[str, Reader] = {
    "celeba": celeba,
    "cityscapes_adashare": cityscapes_adashare,
    "cityscapes_mtan": cityscapes_mtan,
    "image_table": image_table,
    "multi_fashion": multi_fashion,
    "multi_fashion_mnist": multi_fashion_mnist,
    "multi_mnist": multi_mnist,
    "nyuv2_adashare": nyuv2_adashare,
    "nyuv2_mtan": nyuv2_mtan,
    "taskonomy_adashare": taskonomy_adashare,
}


def open_images(
    reader: str, folder: str | Path, options: Mapping[str, object] | None = None
) -> ImageSet:
    """The data set in `folder`.

    Args:
        reader: a key of `READERS`.
        folder: in the layout that this reader expects.
        options: keyword arguments of the reader, in the types of YAML or JSON (lists, mappings).

    Raises:
        ConfigError: the reader does not exist, or an option is unknown, missing or of a wrong type.
        DataError: a file in the folder is missing or damaged, or breaks the layout.
    """
    if reader not in READERS:
        hint = did_you_mean(reader, READERS)
        raise ConfigError(f"reader: there is no {reader!r}{hint}; there are {', '.join(READERS)}")
    return READERS[reader](folder, **check_options(reader, dict(options or {})))


def check_options(reader: str, options: Mapping[str, object]) -> dict[str, Any]:
    """The options of a reader in the types of its signature.

    Raises:
        ConfigError: an option is unknown, missing or of a wrong type; names all such options.

    >>> check_options("nyuv2_mtan", {"tasks": ["depth"], "seed": 3})
    {'tasks': ('depth',), 'seed': 3}
    """
    parameters = signature(READERS[reader]).parameters
    hints = get_type_hints(READERS[reader])
    allowed: dict[str, Any] = {
        k: (strict(hints[k]), ... if p.default is Parameter.empty else p.default)
        for k, p in parameters.items()
        if p.kind is Parameter.KEYWORD_ONLY
    }
    model = create_model("Options", __config__=ConfigDict(extra="forbid"), **allowed)
    try:
        read = model.model_validate(dict(options))
    except ValidationError as fault:
        problems = Problems(f"options of {reader}")
        collect(fault, with_lines(options, None), problems, names=lambda _: list(allowed))
        problems.raise_as(ConfigError)
        raise
    return {name: getattr(read, name) for name in options}
