"""What must not leave a machine: its paths, its keys, and addresses that only its own network knows."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

__all__ = ["leaks"]

_PATH = re.compile(
    # A known root, with anything below it; any other absolute path, from its second part on, so that `/s` and `and/or` are none.
    r"(?<![\w/.:])/(?:home|Users|root|mnt|tmp|var|opt|srv|data|scratch|workspaces?|gpfs|lustre|work|content|kaggle|projects?|nfs|Volumes)/\S"
    r"|(?<![\w/.:])/[\w.@+-]+/[\w.@~+-]"
    r"|(?<![\w/.])\.{1,2}/[\w.]|(?<!\S)~(?:[a-z_][\w-]*)?/\w"
    # Drives and servers of Windows.
    r"|\b[A-Za-z]:\\\\?\w|(?<!\w)[A-Za-z]:/\w|(?<![\w:/\\])(?:\\\\|//)[\w.-]+[\\/]+\w"
    r"|\bfile://|\b(?:s3|gs|abfss?|wasbs?|hdfs|dbfs):/"
)
_KEY = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|Bearer\s+[\w.~+/-]{8,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_NAME_OF_KEY = re.compile(r"(?:x-)?(?:api[_-]?key|(?:hf|auth|access)[_-]?token|token|password|passwd|secret|authorization)", re.IGNORECASE)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_HOST_ALONE = re.compile(
    r"(?<![\w.@/-])((?:\d{1,3}\.){3}\d{1,3}|localhost|[\w-]+(?:\.[\w-]+)*\.(?:internal|local|lan))(?::\d{2,5}\b|/)", re.IGNORECASE
)
_WITH_HOSTS = {"http", "https", "ws", "wss", "grpc", "grpcs", "tcp", "ftp", "ssh", "redis"}
_PRIVATE_ENDINGS = (".internal", ".local", ".lan", ".corp", ".intranet", ".localdomain", ".home.arpa")


def leaks(value: Any) -> str | None:
    """What in a value may not leave the machine: `a key`, `a path`, `a private address`, or null where there is nothing of the kind.

    This is the one rule: `culturecare submit` leaves out of a model's arguments what it finds, and a board refuses what still has it. It
    knows what such things look like; a name that a person gave a folder or a server, alone, looks like any other word.

    Args:
        value: Anything that JSON can hold. Of an object, a text under a name such as `api_key` is a key.
    """
    pending, texts = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            texts.add(item)
        elif isinstance(item, dict):
            if any(isinstance(held, str) and held and _NAME_OF_KEY.fullmatch(name) for name, held in item.items()):
                return "a key"
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list | tuple):
            pending += item
    # No pattern reaches over the end of a line.
    together = "\n".join(texts)
    if _KEY.search(together):
        return "a key"
    if any(_is_private(found[0]) for found in _ADDRESS.finditer(together)):
        return "a private address"
    if any(_is_private_host(found[1]) for found in _HOST_ALONE.finditer(together)):
        return "a private address"
    return "a path" if _PATH.search(together) else None


def _is_private(address: str) -> bool:
    """Whether an address names a password, or a host that the public network does not know."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:  # Brackets that hold no IPv6 address.
        return True
    # In `hf://datasets/…` or `s3://bucket/…` something else stands where these have the host.
    return "@" in parts.netloc or (host is not None and parts.scheme in _WITH_HOSTS and _is_private_host(host))


def _is_private_host(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.rstrip(".").casefold()
        return "." not in name or name.endswith(_PRIVATE_ENDINGS)
