"""`pathGlobFilter`: Hadoop's glob patterns, as Spark matches them against a file's name (not its folders)."""

import re

from include.config.errors import ConfigError


def compile_glob(pattern: str) -> re.Pattern[str]:
    r"""The regular expression that a whole file name must match.

    `*` any characters, `?` one, `[abc]`, `[a-z]`, `[^a]` or `[!a]` one of a set, `{a,b}` one of several patterns, `\`
    takes the next character as it is. A leading dot is nothing special.

    Raises:
        ConfigError: the pattern is not a glob.
    """
    if "/" in pattern:
        raise _refused(pattern, "it has a slash, and only names of files are matched, without their folders")
    try:
        return re.compile(_translate(pattern), re.DOTALL)
    except re.error as error:
        raise _refused(pattern, str(error)) from error


def _translate(pattern: str) -> str:
    regex: list[str] = []
    depth = 0
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "[":
            end = _end_of_set(pattern, position)
            regex.append(_translate_set(pattern[position + 1 : end]))
            position = end
        elif char == "\\":
            position += 1
            if position == len(pattern):
                raise _refused(pattern, "nothing stands after its last backslash")
            regex.append(re.escape(pattern[position]))
        elif char == "{":
            depth += 1
            regex.append("(?:")
        elif char in ",}" and depth:
            depth -= char == "}"
            regex.append("|" if char == "," else ")")
        else:
            regex.append(_plain(char))
        position += 1
    if depth:
        raise _refused(pattern, "a { is not closed")
    return "".join(regex)


def _plain(char: str) -> str:
    return {"*": ".*", "?": "."}.get(char) or re.escape(char)


def _end_of_set(pattern: str, start: int) -> int:
    """Where the set that opens at `start` closes; a ] right after the opening (or after ^, !) is a member."""
    first = start + 1 + (pattern[start + 1 : start + 2] in ("^", "!"))
    position = first
    while position < len(pattern) and (pattern[position] != "]" or position == first):
        position += 2 if pattern[position] == "\\" else 1
    if position >= len(pattern):
        raise _refused(pattern, "a [ is not closed")
    return position


def _translate_set(members: str) -> str:
    negated = members[:1] in ("^", "!")
    # Python would warn of, or give a meaning to, sets in sets and set operators, which globs do not have.
    body = re.sub(r"([\[&~|])", r"\\\1", members[1:] if negated else members)
    if body.startswith("]"):
        body = "\\" + body
    return f"[{'^' if negated else ''}{body}]"


def _refused(pattern: str, reason: str) -> ConfigError:
    return ConfigError(
        f"pathGlobFilter {pattern!r} is not a pattern of file names: {reason}.",
        remedy="Use *, ?, [a-z], [^a-z], {json,jsonl}; put a backslash before such a character to mean itself.",
        pattern=pattern,
    )
