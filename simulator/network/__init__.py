"""Links that are shared: who meets whom, how fast each message is, and when that changes."""
