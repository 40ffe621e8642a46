"""The declared exceptions of storage; their messages hold no patient data and, unless noted, no paths."""


class StorageError(Exception):
    """Base of everything storage declares."""


class NotDicom(StorageError):
    """Bytes that are no DICOM object, or not a whole one; the message names what is wrong."""


class NotConvertible(StorageError):
    """An object that cannot be brought into the transfer syntax asked for."""


class CodecFailed(StorageError):
    """Pixels that could not be decoded or encoded, or work on them that had to be ended; in one line, why."""


class TooLarge(StorageError):
    """An object larger than MaxObjectSize."""


class DeviceError(StorageError):
    """A device that cannot be used; the message names the dicom.ini key and the remedy, paths included."""


class UnknownDevice(DeviceError):
    """A device name that dicom.ini does not declare."""


class DeviceFull(StorageError):
    """No device has room for an object."""


class DeviceBusy(DeviceError):
    """A device that another running server writes to."""


class MissingFile(StorageError):
    """A stored object whose file is on none of the devices."""


class UnsafePath(MissingFile):
    """A file name out of the index that is no path below a device: absolute, or with ``..`` in it."""


class NotRendered(StorageError):
    """An object, or a part of one, that no picture can be made of."""
