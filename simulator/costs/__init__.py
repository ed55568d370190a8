"""What phases cost: seconds, bytes, memory and energy, as arithmetic without a clock."""
