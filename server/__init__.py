"""The running daemon: associations, DIMSE services, and the order in which things happen to an object."""
