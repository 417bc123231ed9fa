"""What is watched while a pack learns: one measurement, one file."""
