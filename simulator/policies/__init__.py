"""Cut policies: pure functions from observations to cuts."""
