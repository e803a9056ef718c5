import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import VideoError
from .info import file_status

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet


class AudioCopy:
    """The sound of one file on its way into another, packet by packet and unchanged.

    Args:
        path: Where the sound comes from. Time 0 is where its video starts, if it has one.
        output: Where it goes to, before anything was written.
        output_path: Its final name, for warnings.

    Raises:
        VideoError: If `path` cannot be read.
    """

    def __init__(self, path: Path, output: "OutputContainer", output_path: Path) -> None:
        import av
        from av.audio.stream import AudioStream

        file_status(path)
        try:
            self._input: InputContainer = av.open(str(path), options={"protocol_whitelist": "file"})
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(path, "is no sound or video that FFmpeg can read", "check that it plays") from error
        self._path = path
        self._packets: Iterator[Packet] = iter(())
        self._held: tuple[int, Packet] | None = None  # the next one's time stamp and itself
        sound = self._input.streams.best("audio")
        if not isinstance(sound, AudioStream):
            return
        codec = sound.codec_context.name
        if codec not in output.supported_codecs:
            reason = f"{output.format.name} cannot hold the sound of {path} ({codec})"
            warnings.warn(f"{output_path}: {reason}, the clip is silent; write .mkv or .mov to keep it", stacklevel=4)
            return
        self._stream = output.add_stream_from_template(sound)
        self._shift = self._start_of_video(sound)
        self._packets = self._input.demux(sound)
        self._held = self._following()

    def packets_until(self, begin_before: Fraction, end_by: Fraction) -> Iterator["Packet"]:
        """Each time the next packets, those that begin and end by these times in seconds, timed anew."""
        while self._held is not None:
            stamp, packet = self._held
            begin = stamp - self._shift
            end = begin + (packet.duration or 0)
            if begin * packet.time_base >= begin_before or end * packet.time_base > end_by:
                return
            self._held = self._following()
            if end < 0:  # a camera's sound may begin long before its pictures
                continue
            packet.dts = (stamp if packet.dts is None else packet.dts) - self._shift
            packet.pts = begin
            packet.stream = self._stream
            yield packet

    def close(self) -> None:
        """Closes the file that the sound comes from."""
        self._input.close()

    def _following(self) -> "tuple[int, Packet] | None":
        import av

        try:
            for packet in self._packets:
                stamp = packet.dts if packet.pts is None else packet.pts
                if packet.size and stamp is not None:
                    return stamp, packet
        except av.FFmpegError as error:
            warnings.warn(f"{self._path}: the sound is damaged ({error}) and copied up to there", stacklevel=6)
        return None

    def _start_of_video(self, sound: "AudioStream") -> int:
        """When the first picture is shown, in ticks of the sound stream."""
        video = self._input.streams.best("video")
        if video is None or video.start_time is None or video.time_base is None or sound.time_base is None:
            return sound.start_time or 0
        return round(video.start_time * video.time_base / sound.time_base)
