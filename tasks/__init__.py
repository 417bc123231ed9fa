"""What is to be remembered. Tasks import no other room: they know no net and no config."""
