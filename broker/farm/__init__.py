"""The farm: which instance a job goes to, how it is sent there, followed and fetched."""
