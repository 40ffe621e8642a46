"""Measurements beside other servers, by the method of the design: same files, fresh UIDs, A-B-A-B, medians."""
