"""Byte-level damage to valid files, drawn by hypothesis."""

from hypothesis import strategies as st

OPERATIONS = ("set", "insert", "delete", "cut", "double")
# What parsers trip over is drawn more often than any other bytes.
HOSTILE = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"''",
    b'""',
    b" ",
]
PIECES = st.one_of(st.sampled_from(HOSTILE), st.binary(min_size=1, max_size=6))
Mutation = tuple[str, float, bytes, int]

mutations: st.SearchStrategy[list[Mutation]] = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.floats(0, 1, exclude_max=True), PIECES, st.integers(1, 40)),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, steps: list[Mutation]) -> bytes:
    """`content` after each step: a place as a share of its length, bytes to write there, how many are taken away."""
    data = bytearray(content)
    for operation, share, piece, count in steps:
        at = int(share * len(data))
        if operation == "set":
            data[at : at + len(piece)] = piece
        elif operation == "insert":
            data[at:at] = piece
        elif operation == "delete":
            del data[at : at + count]
        elif operation == "cut":
            del data[at:]
        else:
            data[at:at] = data[at : at + count]
    return bytes(data)
