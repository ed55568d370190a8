"""The sections of a scenario: what may stand in each, and with which defaults."""
