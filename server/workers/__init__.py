"""A server of several processes: one that accepts, one that runs commands, and workers that hold the associations."""
