"""HTTP inside the daemon: WADO."""
