"""The type of a socket that takes, or gives, whatever it is wired to."""

from __future__ import annotations


class AnyType(str):
    """ComfyUI asks whether two types differ; this one differs from none."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")
