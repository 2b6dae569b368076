"""Model files: read, write and check them, and pack one into a program."""
