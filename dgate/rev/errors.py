"""What making previews raises; each message is one line for whoever asked for it."""


class RevError(Exception):
    """Base of everything that `dgate rev` declares."""


class BadRequest(RevError):
    """Options that make no sense, alone or together."""


class TagStructError(BadRequest):
    """A --tagStruct that is not understood."""


class SubstitutionFailed(RevError):
    """A file in which a tag cannot be given the value that a template makes."""


class MissingPrerequisite(RevError):
    """A stage was asked for whose input another stage has not made yet."""
