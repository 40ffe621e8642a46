"""Forms of pixel data: the compression codes, and conversions between transfer syntaxes."""
