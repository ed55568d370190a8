"""What takes simulated time, on events or, where nobody meets anybody, without."""
