"""The commands, one file each: options, calls, and what is printed."""
