"""From the tables that the catalogue was compiled in to its YAML files; used by maintainers, never at run time."""
