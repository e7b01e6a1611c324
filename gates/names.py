"""The allowlists for what a person or a client may type: names, ids and free text.

Everything that becomes part of a Redis key, a file name or a URL path passes here first, at
the edge, once.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from .errors import InvalidInput, InvalidName, TooLarge

NAME_LIMIT = 64
"""Characters in a name; also keeps a file name below 255 bytes in UTF-8."""

LABEL_LIMIT = 200
"""Characters in a label, title or ``by``."""

TEXT_LIMIT = 16_384
"""Characters in a decision's text or a note."""

_GATE_ID = _INSTANCE_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")
_SLOT_FILE = re.compile(r"img_[0-9]{4,9}\.png")
_DECISION_ID = re.compile(r"[A-Za-z0-9_:-]{1,64}")
# Windows opens these as devices, whatever the ending (con.txt is the console).
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"] + [f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"]
)
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_name(name: object, what: str = "name") -> str:
    """The name in NFC form, when it may stand in a Redis key, a file name and a URL.

    Accepted: 1 to 64 letters and digits of any script (with their combining marks), ``_``,
    ``-`` and ``.``; not starting or ending with ``.``, no ``..``, no device name of Windows.
    Raises InvalidName otherwise; ``what`` is the word for it in the message.
    """
    accepted = f"1 to {NAME_LIMIT} letters, digits, _ - ."
    if not isinstance(name, str):
        raise InvalidName(f"The {what} must be text of {accepted}", what=what)
    text = unicodedata.normalize("NFC", name)
    if not 1 <= len(text) <= NAME_LIMIT or not all(_in_name(character) for character in text):
        raise InvalidName(f"The {what} {_shown(name)} is not accepted: {accepted}", what=what)
    if text[0] == "." or text[-1] == "." or ".." in text or unicodedata.category(text[0])[0] == "M":
        raise InvalidName(f"The {what} {_shown(name)} must not begin or end with a dot or hold two in a row", what=what)
    if text.split(".")[0].lower() in _DEVICES:
        raise InvalidName(f"The {what} {_shown(name)} is a device name on Windows", what=what)
    return text


def check_gate_id(gate_id: object) -> str:
    """The id, when it is 32 lowercase hex digits; raises InvalidName otherwise."""
    if isinstance(gate_id, str) and _GATE_ID.fullmatch(gate_id):
        return gate_id
    raise InvalidName("A gate id is 32 lowercase hex digits", what="gate id")


def check_instance_id(instance_id: object) -> str:
    """The id, when it is 32 lowercase hex digits; raises InvalidName otherwise."""
    if isinstance(instance_id, str) and _INSTANCE_ID.fullmatch(instance_id):
        return instance_id
    raise InvalidName("An instance id is 32 lowercase hex digits", what="instance id")


def check_job_id(job_id: object) -> str:
    """The id, when it is 32 lowercase hex digits; raises InvalidName otherwise."""
    if isinstance(job_id, str) and _GATE_ID.fullmatch(job_id):
        return job_id
    raise InvalidName("A job id is 32 lowercase hex digits", what="job id")


def check_digest(digest: object) -> str:
    """The digest, when it is a SHA-256 in lowercase hex; raises InvalidName otherwise."""
    if isinstance(digest, str) and _DIGEST.fullmatch(digest):
        return digest
    raise InvalidName("A digest is a SHA-256 of 64 lowercase hex digits", what="digest")


def check_number(number: object) -> str:
    """The text, when it is a whole number of 0 to 9999 without leading zeros; raises InvalidName otherwise."""
    if isinstance(number, str) and _NUMBER.fullmatch(number):
        return number
    raise InvalidName("A number in a path is 0 to 9999", what="number")


def check_slot_file(file: object) -> str:
    """The slot's file name, when it is ``img_0001.png`` with 4 to 9 digits; raises InvalidName otherwise."""
    if isinstance(file, str) and _SLOT_FILE.fullmatch(file):
        return file
    raise InvalidName("A slot is named img_0001.png, with 4 to 9 digits", what="slot file")


def check_decision_id(decision_id: object) -> str:
    """The id, when it is 1 to 64 of ``A-Z a-z 0-9 _ : -``; raises InvalidName otherwise."""
    if isinstance(decision_id, str) and _DECISION_ID.fullmatch(decision_id):
        return decision_id
    raise InvalidName("A decision id is 1 to 64 of A-Z a-z 0-9 _ : -", what="decision id")


def clean_text(text: object, what: str, limit: int = LABEL_LIMIT) -> str:
    """Free text as it may be stored: without control and bidi characters, at most ``limit`` long.

    Newlines and tabs stay. Raises InvalidInput when it is no text or holds a lone surrogate
    (which no UTF-8 can carry), TooLarge when it is too long.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"The {what} must be text", what=what)
    if len(text) > limit:
        raise TooLarge(f"The {what} has {len(text)} characters; at most {limit} are accepted", what=what, limit=limit)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"The {what} holds half of a surrogate pair", what=what)
    return "".join(c for c in text if c in "\n\t" or (unicodedata.category(c) != "Cc" and c not in _BIDI))


def check_int(value: Any, what: str, low: int, high: int) -> int:
    """The value, when it is a whole number of ``low`` to ``high`` (a bool or float is none); raises InvalidInput."""
    if type(value) is int and low <= value <= high:
        return value
    raise InvalidInput(f"The {what} must be a whole number of {low} to {high}", what=what, low=low, high=high)


def _in_name(character: str) -> bool:
    return character in "_-." or unicodedata.category(character) in {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"}


def _shown(name: str) -> str:
    """The name for a message, with everything unprintable escaped and cut short."""
    return ascii(name[:NAME_LIMIT])
