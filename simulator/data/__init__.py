"""Samples as the clock sees them: how many a client has, and how long they are."""
