"""What a person may do wrong with a model, in sentences for that person."""


class BadInput(Exception):
    """A file, folder or value that cannot be used; the message says which and what to do."""


class QueueFull(Exception):
    """More requests wait than may wait: try again later."""


class BrokenCheckpoint(BadInput):
    """A checkpoint folder that is missing, incomplete or not what it says it is."""
