"""Reads run folders: metrics, tables and pictures. Never runs a simulation and never imports torch."""
