"""Who computes: processes of this machine or a Ray cluster, the cases of a study or the clients of a run."""
