"""Buses: named places with the latest passed image and mask, from any workflow and machine."""
