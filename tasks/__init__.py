"""What is to be remembered. Tasks import torch only: they know no net and no config."""
