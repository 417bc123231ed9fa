"""From a command line to checked jobs: yaml to dataclasses, and the limits of a run."""
