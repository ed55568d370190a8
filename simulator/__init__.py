"""The clock: scenarios, costs, shared links, protocols and policies. Never imports torch."""
