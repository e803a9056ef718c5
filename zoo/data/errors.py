from zoo.errors import FileError


class DataError(FileError):
    """A data folder, list or side-car file that cannot be used."""
