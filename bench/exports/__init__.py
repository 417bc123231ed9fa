"""Other programs that may have the numbers of a run beside the files on disk: one program, one file."""
