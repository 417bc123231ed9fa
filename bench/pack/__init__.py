"""What keeps the replicas of a pack independent of one another, and a run's identity independent of where code stands."""
