"""Consent: who agreed to take part, when, and to which words. Before that nothing is shown to a rater, and nothing is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime

from culturecare import CultureCareError, Record
from culturecare_harness.human.forms import select_language
from culturecare_harness.human.items import RaterName
from culturecare_harness.records import Hash, append_records, digest, read_records, whole_file

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from culturecare_harness.human.items import OpenPacket

__all__ = ["CONSENTS", "Consent", "consent_path", "give_consent", "read_consent", "words_of_consent"]

CONSENTS = "consents"
"""Folder in the packet that holds a file for each rater who agreed."""


class Consent(Record):
    """A rater's consent.

    Attributes:
        language: ISO 639-1 code of the language in which it was asked for.
        words: Hash of what was read and agreed to: the warning, the consent, and the sentence that was chosen.
        at: When.
    """

    schema_version: Literal[1] = 1
    packet: str
    rater: RaterName
    language: str
    words: Hash
    at: AwareDatetime


def words_of_consent(language: str) -> str:
    """Names the words that raters agree to in a language."""
    interface = select_language(language).interface
    return digest([list(interface.warning), list(interface.consent), interface.agree])


def consent_path(packet: OpenPacket, rater: str) -> Path:
    """The file of a rater's consent.

    Raises:
        CultureCareError: The packet has no such rater.
    """
    return packet.folder / CONSENTS / f"{packet.assignment(rater).rater}.jsonl"


def read_consent(packet: OpenPacket, rater: str) -> Consent | None:
    """A rater's consent, null where there is none yet.

    Raises:
        CultureCareError: The file is no consent of this rater to this packet.
    """
    path = consent_path(packet, rater)
    if not path.exists():
        return None
    given = read_records(path, Consent)
    for consent in given:
        if (consent.packet, consent.rater) != (packet.packet.id, rater):
            raise CultureCareError(
                f"{path}: is a consent of rater {consent.rater!r} to packet {consent.packet}, not of {rater!r} to {packet.packet.id}"
            )
    return given[0] if given else None


def give_consent(packet: OpenPacket, rater: str, language: str, at: dt.datetime) -> Consent:
    """Keeps that a rater agreed; it is on the disk when this returns, and there is nothing of it where it cannot be written whole.

    Raises:
        CultureCareError: The packet has no such rater, or the interface no such language.
        OSError: It cannot be written.
    """
    consent = Consent(packet=packet.packet.id, rater=rater, language=language, words=words_of_consent(language), at=at)
    with whole_file(consent_path(packet, rater)) as temporary:
        append_records(temporary, [consent])
    return consent
