"""Jinja for prompts: plain text, sandboxed, strict about names, and safe from what a text may hold."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re

import jinja2
import jinja2.sandbox

from culturecare import CultureCareError

# The sandbox keeps a contributed template from reaching Python; StrictUndefined turns a misspelt name into an error.
_environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    autoescape=False,  # Prompts are plain text, never HTML.
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def fill(source: str, **names: object) -> str:
    """Renders the template `source` and strips the ends.

    Values are inserted as they are: what looks like Jinja within a value stays text.

    Raises:
        CultureCareError: The template is no valid Jinja, or uses a name that is not given.
    """
    try:
        return _template(source).render(names).strip()
    except jinja2.TemplateError as error:
        raise CultureCareError(f"the prompt template beginning {source.strip()[:40]!r} cannot be rendered: {error}") from error


@functools.cache
def _template(source: str) -> jinja2.Template:
    return _environment.from_string(source)


_TEMPLATE_MARKS = re.compile(
    r"<(?=[^<>\s]{1,60}>|[|｜][^<>\n]{1,60}[|｜]>)"  # <s>, <start_of_turn>, <|im_end|>, <｜User｜>
    r"|\[(?=/?(?:[A-Z][A-Z_0-9]{2,}|[gs]MASK)\])"  # [INST], [/INST], [gMASK]
)


def part_template_marks(text: str) -> str:
    """Parts by a space what a chat template would take for one of its own marks, such as `<|im_end|>` or `[INST]`.

    Back ends and servers read such marks in a message as the end of it, wherever they come from.
    """
    return _TEMPLATE_MARKS.sub(lambda found: f"{found[0]} ", text)


def fence_mark(*texts: str) -> str:
    """A mark of eight hex digits to fence texts with: derived from their hash, so that prompts stay reproducible, and in none of them.

    Eight digits can be found by search, so that a text could hold its own mark; the hash is then salted until it does not.
    """
    joined = "".join([*(f"{len(text)}:" for text in texts[:-1]), *texts])
    for salt in itertools.chain([""], itertools.count(1)):
        mark = hashlib.sha256(f"{salt}{joined}".encode()).hexdigest()[:8]
        if not any(mark in text for text in texts):
            break
    return mark
