"""The training loop, devices and processes, checkpoints, stopping and the log; it knows no patient."""
