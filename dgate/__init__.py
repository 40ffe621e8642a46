"""The program: command line, command table, configuration, and the tools around the archive."""

__version__ = "0.1.0"
