"""The order in which things happen: one way in, one way out, one way to delete, whoever asks."""
