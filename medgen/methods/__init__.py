"""One file, one published method: its ``Config``, its class and ``METHOD``."""
