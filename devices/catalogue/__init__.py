"""The shipped devices, networks, fleets and availability profiles, one YAML file each, and their look-up by id."""
