"""Pictures of objects: from stored pixels to 8-bit grey or RGB, as PS3.3 says they are to be shown."""
