"""Who can be reached, and who of them takes part in a round."""
