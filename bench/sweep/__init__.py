"""From an ordinary Hydra sweep to packs, and to where they run."""
