"""How our own webhooks prove where they come from.

``X-Gatebus-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex, of the value of
``X-Gatebus-Timestamp`` (seconds since the epoch), a dot and the body's bytes. A receiver checks
the signature over the bytes as they came, and refuses a timestamp that is minutes away: an old
message that somebody recorded can't be sent again. ``X-Gatebus-Delivery`` is the same over every
repeat of one message.
"""

from __future__ import annotations

import hashlib
import hmac

TIMESTAMP = "X-Gatebus-Timestamp"
SIGNATURE = "X-Gatebus-Signature"
DELIVERY = "X-Gatebus-Delivery"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of ``X-Gatebus-Signature``."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
