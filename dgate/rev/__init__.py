"""Previews for the ReV viewer: a library of DICOM files by age becomes pictures, JSON and pages."""
