"""What keeps the replicas of a pack independent of one another, and run ids independent of where code stands."""
