"""Learning protocols, one file each; the only modules that yield to the clock."""
