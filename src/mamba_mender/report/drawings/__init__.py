"""Drawings of what inspection finds, one file an area; importing this package registers them all with `plot`."""
