"""What becomes of a run whose workers have gone."""


class LostError(Exception):
    """Who computed, or what had been computed, is lost with its process or machine; a resume goes on with the rest."""
