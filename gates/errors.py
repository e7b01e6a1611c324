"""Every error that gatebus raises on purpose.

Each class is one sentence, knows its HTTP status and its ``type`` in a JSON answer::

    GatebusError                         500  error
    ├── InvalidInput (ValueError)        400  invalid_input
    │   ├── InvalidName                  400  invalid_name
    │   └── InvalidSetting               400  invalid_setting
    ├── Unauthorized                     401  unauthorized
    ├── Forbidden                        403  forbidden
    ├── NotFound (LookupError)           404  not_found
    │   ├── GateNotFound                 404  gate_not_found
    │   ├── BusNotFound                  404  bus_not_found
    │   ├── PoolNotFound                 404  pool_not_found
    │   ├── InstanceNotFound             404  instance_not_found
    │   ├── JobNotFound                  404  job_not_found
    │   ├── BlobNotFound                 404  blob_not_found
    │   └── SlotNotFound                 404  slot_not_found
    ├── Conflict                         409  conflict
    │   ├── AlreadyDecided               409  already_decided
    │   ├── GateClosed                   409  gate_closed
    │   ├── GateBusy                     409  gate_busy
    │   ├── TakenBack                    409  taken_back
    │   ├── Fenced                       409  fenced
    │   └── JobEnded                     409  job_ended
    ├── TooLarge (ValueError)            413  too_large
    ├── WrongHost                        421  wrong_host
    ├── InvalidImage (ValueError)        422  invalid_image
    ├── TooMany                          429  too_many
    ├── StoreUnavailable (ConnectionError) 503  store_unavailable
    └── TooBusy                      503  too_busy
        └── QueueFull                    503  queue_full

A message names what was wrong and what is accepted; ``details`` carries the same as data.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GatebusError(Exception):
    """The root: something that gatebus refused or could not do."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_json(self) -> dict[str, Any]:
        """The body of an HTTP error answer: ``{"error": {"type", "message", "details"}}``."""
        return {"error": {"type": self.type, "message": self.message, "details": self.details}}


class InvalidInput(GatebusError, ValueError):
    """A value from outside is not of the accepted form."""

    status = 400
    type = "invalid_input"


class InvalidName(InvalidInput):
    """A name or id is not in the allowlist."""

    type = "invalid_name"


class InvalidSetting(InvalidInput):
    """A setting has a value that is not accepted."""

    type = "invalid_setting"


class Unauthorized(GatebusError):
    """The bearer token is missing or unknown."""

    status = 401
    type = "unauthorized"


class Forbidden(GatebusError):
    """The token's role does not allow this, or another site's page sent it."""

    status = 403
    type = "forbidden"


class NotFound(GatebusError, LookupError):
    """Nothing is stored under that id."""

    status = 404
    type = "not_found"


class GateNotFound(NotFound):
    """No gate has that id; it may have been applied and expired."""

    type = "gate_not_found"


class BusNotFound(NotFound):
    """Nothing was published under that bus name, or not in that version."""

    type = "bus_not_found"


class PoolNotFound(NotFound):
    """No pool has that id."""

    type = "pool_not_found"


class InstanceNotFound(NotFound):
    """No instance has that id; it may have ended in order, or have been gone for long."""

    type = "instance_not_found"


class JobNotFound(NotFound):
    """No job has that id; it may have ended and expired."""

    type = "job_not_found"


class BlobNotFound(NotFound):
    """No bytes of that digest are kept; they may have expired."""

    type = "blob_not_found"


class SlotNotFound(NotFound):
    """The pool has no slot of that file name."""

    type = "slot_not_found"


class Conflict(GatebusError):
    """The state has moved on: what was asked does not fit any more."""

    status = 409
    type = "conflict"


class AlreadyDecided(Conflict):
    """Another decision stands; ``details["decision"]`` is the one."""

    type = "already_decided"


class GateClosed(Conflict):
    """The gate has ended (applied, cancelled or expired) and takes nothing more."""

    type = "gate_closed"


class GateBusy(Conflict):
    """Another live owner holds the gate."""

    type = "gate_busy"


class TakenBack(Conflict):
    """The decision was taken back by who had made it; the gate waits again, for another one."""

    type = "taken_back"


class Fenced(Conflict):
    """This owner lost the gate or job to a newer one and must change nothing of it."""

    type = "fenced"


class JobEnded(Conflict):
    """The job has ended and takes nothing more; ``details["state"]`` is how."""

    type = "job_ended"


class TooLarge(GatebusError, ValueError):
    """More bytes, pixels, frames or entries than the limits allow."""

    status = 413
    type = "too_large"


class WrongHost(GatebusError):
    """The Host header names a host that this server does not answer for."""

    status = 421
    type = "wrong_host"


class InvalidImage(GatebusError, ValueError):
    """The bytes are no image of an accepted format, or the array has no accepted shape."""

    status = 422
    type = "invalid_image"


class TooMany(GatebusError):
    """This caller sends more in a time than the limits allow; ``details["retry_after"]`` is in seconds."""

    status = 429
    type = "too_many"


class StoreUnavailable(GatebusError, ConnectionError):
    """The store does not answer now; nothing is known to have changed."""

    status = 503
    type = "store_unavailable"


class TooBusy(GatebusError):
    """As many as this process serves at a time are being served; try again in a moment."""

    status = 503
    type = "too_busy"


class QueueFull(TooBusy):
    """As many jobs wait as the farm takes; submit it again when some have run."""

    type = "queue_full"
