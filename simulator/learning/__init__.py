"""What the clock has settled becomes tasks of a trainer, none of which is computed twice."""
