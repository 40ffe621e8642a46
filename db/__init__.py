"""The index: which objects are stored where, in the tables that dicom.sql describes (SQLAlchemy lives only here)."""
