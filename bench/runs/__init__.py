"""What lies on disk: a run's directory and checkpoint, the tables read from many runs, stored references."""
