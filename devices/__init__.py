"""Devices, networks and fleets as plain data in base units."""
