"""Models, data and real training; knows no device and no clock."""
