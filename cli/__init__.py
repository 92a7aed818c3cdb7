"""The command `hsl`."""
