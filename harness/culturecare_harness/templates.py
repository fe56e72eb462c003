"""Jinja for prompts: plain text, sandboxed, and strict about names."""

from __future__ import annotations

import functools

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
