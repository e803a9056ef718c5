from zoo.errors import FileError


class VideoError(FileError):
    """A video, picture or folder of frames that cannot be read or written."""
