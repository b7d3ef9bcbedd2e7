"""What is secret in a URL, masked: the door through which a text passes before anyone can read it.

Everything that is printed, stored or logged and may hold a URL goes through `mask`: messages of
errors and warnings, `job.json`, manifests, what is tracked. The rule asks for no list of names:
user and password are masked, and so is every value of a query, since a signature may have any name.
"""

import re
from typing import TypeVar

__all__ = ["MASK", "is_masked", "mask", "masked", "one_line"]

MASK = "***"

T = TypeVar("T")

# The account of these schemes stands behind the @, and a container before it, which is no secret.
_CONTAINERS = r"(?!(?<=abfs://)|(?<=abfss://)|(?<=wasb://)|(?<=wasbs://))"
# A password may hold slashes, which separate it from a port and a path; `Path` leaves one slash.
_WITH_PASSWORD = re.compile(
    r"(?P<scheme>:/{1,3})(?P<user>[^\s/:@'\"<>]*):(?!\d+(?:[/?#]|$))(?P<secret>[^\s'\"<>]*)@"
)
_WITH_USER = re.compile(rf"(?<=://){_CONTAINERS}[^\s/?#'\"<>@]+@")
# What is left of a URL in the messages of drivers: user:password@host.
_WITHOUT_SCHEME = re.compile(r"(?<![\w*])[^\s/:@'\"<>*]+:(?!/|\d+(?:[/?#]|$))[^\s@'\"<>*]+@(?=\w)")
_QUERY = re.compile(r"(?P<name>[?&;#][\w.~%$\[\]-]+=)(?P<value>[^\s&;#'\"<>]*[^\s&;#'\"<>,:.)])")


def mask(text: str) -> str:
    """The text with user, password and query values of every URL in it replaced by `***`.

    >>> mask("s3://key:secret@bucket/log.parquet is not there")
    's3://***@bucket/log.parquet is not there'
    >>> mask("https://host:8080/log?sig=a%2Fb&version=3")
    'https://host:8080/log?sig=***&version=***'
    >>> mask("abfss://container@account.dfs.core.windows.net/log")
    'abfss://container@account.dfs.core.windows.net/log'
    """
    if "@" in text:
        text = _WITH_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
        text = _WITH_USER.sub(f"{MASK}@", text)
        text = _WITHOUT_SCHEME.sub(f"{MASK}@", text)
    return _QUERY.sub(rf"\g<name>{MASK}", text) if "=" in text else text


def masked(content: T) -> T:
    """JSON-ready content with every text in it masked, names of entries too.

    >>> masked({"files": ["s3://key:secret@bucket/a"], "rows": 3})
    {'files': ['s3://***@bucket/a'], 'rows': 3}
    """
    if isinstance(content, str):
        return mask(content)  # type: ignore[return-value]  # a str is what came in
    if isinstance(content, dict):
        return {masked(name): masked(value) for name, value in content.items()}  # type: ignore[return-value]
    if isinstance(content, list | tuple):
        return [masked(value) for value in content]  # type: ignore[return-value]
    return content


def one_line(text: str) -> str:
    r"""The text with a space for every line break and other character that moves the pen.

    >>> one_line("a\nb")
    'a b'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def is_masked(text: str) -> bool:
    """Whether something of a URL has been masked, so that it cannot be opened any more."""
    return f"{MASK}@" in text or f"={MASK}" in text
