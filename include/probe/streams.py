"""Opening landing files in Python: never blocking, compared with the plan, decompressed by the name's extension as
Hadoop does.
"""

import bz2
import codecs
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, cast
from urllib.parse import urlsplit

from include.config.settings import is_remote

# Bytes a read. What is decoded of 256 KiB stays in a core's own cache: a quarter less CPU than with 1 MiB.
BLOCK = 1 << 18
CODECS = {".gz": "gzip", ".bz2": "bzip2", ".deflate": "deflate", ".zst": "zstd", ".lz4": "lz4"}
ARROW_CODECS = (".zst", ".lz4")  # Hadoop reads these with native libraries only, and .lz4 in a format of its own
HADOOP_ONLY = (".snappy", ".lzo")  # Spark would decompress these by name; nothing here can check them
MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\x04\x22\x4d\x18": ".lz4",
    b"PK\x03\x04": ".zip",
}
WIDE = ("utf-16", "utf-16be", "utf-16le", "utf-32")
MAX_RECORD = 32 << 20  # bytes: a longer line takes several times its size in each task of Spark, and the JVM with it
MAX_CARRY = 1 << 30  # bytes without a line's end that are held in memory
UTF8_BOM = b"\xef\xbb\xbf"


class BrokenFileError(Exception):
    """Raised when a file as a whole cannot be read; the text says why."""


class SupersededError(Exception):
    """Raised when a file is no longer the version that was planned."""


@dataclass(frozen=True)
class Planned:
    """What the plan knows of a file: where it is, its size in bytes, when it was modified (microseconds since the
    epoch).
    """

    uri: str
    size: int
    modified_at: int
    etag: str | None = None


def open_planned(planned: Planned) -> IO[bytes]:
    """The raw bytes of the planned version.

    Raises:
        SupersededError: the file changed since it was planned.
        BrokenFileError: it vanished, is unreadable or is no regular file.
    """
    return _open_remote(planned) if is_remote(planned.uri) else _open_local(planned)


def _open_local(planned: Planned) -> IO[bytes]:
    try:
        # O_NONBLOCK: a FIFO put in the file's place after discovery must not block the load.
        descriptor = os.open(planned.uri, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BrokenFileError("the file vanished after it was planned") from None
    except OSError as error:
        raise BrokenFileError(f"the file cannot be opened: {error.strerror}") from None
    stream = os.fdopen(descriptor, "rb", buffering=BLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        stream.close()
        raise BrokenFileError("no longer a regular file")
    if not same_version(planned, status):
        stream.close()
        raise SupersededError(f"{planned.uri} changed after it was planned")
    return stream


def same_version(planned: Planned, status: os.stat_result) -> bool:
    """True when size and modification time (in microseconds) are those of the plan."""
    return status.st_size == planned.size and status.st_mtime_ns // 1000 == planned.modified_at


def _open_remote(planned: Planned) -> IO[bytes]:
    import obstore  # noqa: PLC0415  only where a bucket is read: 0.1 s of import otherwise spent on every local run
    from obstore.store import from_url  # noqa: PLC0415

    parts = urlsplit(planned.uri)
    store = from_url(f"{parts.scheme}://{parts.netloc}")
    key = planned.uri[len(f"{parts.scheme}://{parts.netloc}/") :]
    try:
        meta = obstore.head(store, key)
    except FileNotFoundError:
        raise BrokenFileError("the object vanished after it was planned") from None
    if meta["size"] != planned.size or (planned.etag and meta["e_tag"] != planned.etag):
        raise SupersededError(f"{planned.uri} changed after it was planned")
    return io.BufferedReader(cast(io.RawIOBase, _RemoteRaw(obstore.open_reader(store, key))), BLOCK)


class _RemoteRaw(io.RawIOBase):
    """obstore's reader as a raw stream, for gzip and BufferedReader."""

    def __init__(self, reader: object) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = bytes(self._reader.read(len(buffer)))  # type: ignore[attr-defined]
        buffer[: len(data)] = data
        return len(data)


def blocks(planned: Planned) -> Iterator[bytes]:
    """The decompressed content in blocks, without a byte order mark.

    Raises:
        BrokenFileError: the compression is damaged, unknown, or not the one that the name says.
        SupersededError: the file changed since it was planned.
    """
    with open_planned(planned) as raw:
        suffix = PurePosixPath(planned.uri).suffix
        _refuse_wrong_magic(raw, suffix)
        try:
            source = _decompressed(raw, suffix)
            first = source.read(BLOCK)
            yield first.removeprefix(UTF8_BOM)
            while block := source.read(BLOCK):
                yield block
        except (OSError, EOFError, zlib.error, ValueError) as error:
            name = CODECS.get(suffix, "reading")
            raise BrokenFileError(f"{name} failed: {_decoding_message(error)}") from None


def _decoding_message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "the compressed data ends too early" if "end-of-stream marker" in text else text


def _refuse_wrong_magic(raw: IO[bytes], suffix: str) -> None:
    head = cast(io.BufferedReader, raw).peek(4)[:4]
    if suffix in HADOOP_ONLY:
        raise BrokenFileError(f"compression {suffix} is not supported: use .gz, .bz2, .zst or .lz4")
    for magic, named in MAGIC.items():
        if head.startswith(magic) and suffix != named:
            raise BrokenFileError(f"the content is compressed ({named}) but the name does not end in {named}")


def _decompressed(raw: IO[bytes], suffix: str) -> IO[bytes]:
    if suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        return cast(IO[bytes], bz2.BZ2File(raw))
    if suffix == ".deflate":
        return io.BufferedReader(cast(io.RawIOBase, _Inflated(raw)), BLOCK)
    if suffix in ARROW_CODECS:
        import pyarrow as pa  # noqa: PLC0415  0.3 s of import that other files do without

        return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(raw, "r"), CODECS[suffix]))
    return raw


class _Inflated(io.RawIOBase):
    """The content of one zlib stream after the other, to the file's end."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._zlib = raw, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            rest = self._zlib.unused_data or self._zlib.unconsumed_tail or self._raw.read(BLOCK)
            if self._zlib.eof:
                if not rest:
                    return 0
                self._zlib = zlib.decompressobj()
            data = self._zlib.decompress(rest, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not rest:
                raise EOFError("the compressed data ends too early")


def is_plain(planned: Planned) -> bool:
    """True where Spark can decompress the file by itself."""
    return PurePosixPath(planned.uri).suffix not in ARROW_CODECS


def is_wide(encoding: str) -> bool:
    """True for encodings in which a line's end is not the byte that it is in ASCII."""
    return encoding.lower() in WIDE


def text_blocks(planned: Planned, encoding: str) -> Iterator[str]:
    """The decompressed content as text; bytes that are not of the encoding become surrogates (U+DC80 to U+DCFF).

    Raises:
        BrokenFileError, SupersededError: see `blocks`; also where the bytes are no text of a wide encoding.
    """
    errors = "strict" if is_wide(encoding) else "surrogateescape"
    decoder, first = codecs.getincrementaldecoder(encoding)(errors), True
    try:
        for block in blocks(planned):
            text = decoder.decode(block)
            yield text.removeprefix("\ufeff") if first else text
            first = False
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"not text in the encoding {encoding}: {error.reason} at byte {error.start}") from None
    except UnicodeError as error:  # no byte order mark
        hint = f". Is it {encoding.upper()}LE or {encoding.upper()}BE?" if is_wide(encoding) else ""
        raise BrokenFileError(f"not text in the encoding {encoding}: {error}{hint}") from None


def whole_lines(source: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end where a line ends (\\n, \\r\\n or \\r, as Hadoop's line reader has it)."""
    carry: list[bytes] = []
    for block in source:
        # A \r at the end may be half of \r\n: it stays with what follows.
        cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        if not cut:
            carry.append(block)
            if sum(map(len, carry)) > MAX_CARRY:
                raise BrokenFileError(f"a line of more than {MAX_CARRY >> 20} MB")
            continue
        yield b"".join((*carry, block[:cut]))
        carry = [block[cut:]]
    if rest := b"".join(carry):
        yield rest
