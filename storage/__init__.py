"""Bytes on disk: object headers, file names, devices and staged writes; knows neither the index nor the network."""
