"""The folders of runs and studies: tables, their writers and their readers. Analysis reads `runs` and `studies`."""
