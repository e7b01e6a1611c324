"""The commands of ``gatebus``, by what they are about."""
