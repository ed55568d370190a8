"""Who runs the cases of a study: processes of this machine, or a Ray cluster."""
