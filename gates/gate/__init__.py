"""Gates: paused points of a run that wait for one decision."""
