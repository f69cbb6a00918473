"""COPY_OPTIONS, and the format options that say what becomes of records and files that cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from include.config import values
from include.config.ingest import OnError
from include.config.values import did_you_mean
from include.copy_into import errors
from include.copy_into.errors import StatementRefused
from include.copy_into.syntax import Setting

ChangedFiles = Literal["ignore", "error", "append"]
COPY_OPTIONS = ("force", "mergeSchema", "changedFiles", "onError")
POLICIES = ("quarantine", "skip_file", "abort")
MODES = ("PERMISSIVE", "DROPMALFORMED", "FAILFAST")


@dataclass(frozen=True)
class CopyOptions:
    """What the statement does, beyond which files it reads.

    `force` loads what FILES and PATTERN name also when it was loaded before. `merge_schema` adds the files' new columns
    to the target. `changed_files` says what a loaded path with other content means. `skip_corrupt_files` false stops
    the statement at a file that cannot be read. `plain_folders` says that names of folders such as `day=2024-01-31` are
    no columns.
    """

    force: bool
    merge_schema: bool
    changed_files: ChangedFiles
    on_error: OnError
    skip_corrupt_files: bool
    plain_folders: bool


def copy_options(format_options: Mapping[str, Setting], written: tuple[Setting, ...]) -> CopyOptions:
    """The options from COPY_OPTIONS and from FORMAT_OPTIONS' `mode`, `ignoreCorruptFiles` and
    `recursiveFileLookup` (by lower-case name).

    Raises:
        StatementRefused: an unknown name, a name twice, or a value that is not one of the option's.
    """
    own = _by_name(written)
    mode = _mode(format_options.get("mode"))
    on_error = _on_error(own.get("onerror"), mode)
    return CopyOptions(
        force=_flag(own.get("force"), default=False),
        merge_schema=_flag(own.get("mergeschema"), default=False),
        changed_files=_changed_files(own.get("changedfiles")),
        on_error=on_error,
        skip_corrupt_files=_flag(format_options.get("ignorecorruptfiles"), default=on_error.policy != "abort"),
        plain_folders=_flag(format_options.get("recursivefilelookup"), default=False),
    )


def _by_name(written: tuple[Setting, ...]) -> dict[str, Setting]:
    known = {name.lower() for name in COPY_OPTIONS}
    found: dict[str, Setting] = {}
    for setting in written:
        # Snake case too: changed_files and on_error are the pipeline file's own spellings.
        name = setting.key.text.lower().replace("_", "")
        if name not in known:
            near = did_you_mean(setting.key.text, list(COPY_OPTIONS))
            raise _refused(setting, f"is unknown{near}; known: {', '.join(COPY_OPTIONS)}")
        if name in found:
            raise _refused(setting, "is set twice")
        found[name] = setting
    return found


def _flag(setting: Setting | None, *, default: bool) -> bool:
    if setting is None:
        return default
    text = str(setting.value).lower()
    if text not in ("true", "false"):
        raise _refused(setting, f"must be true or false, not {setting.value!r}")
    return text == "true"


def _mode(setting: Setting | None) -> str:
    if setting is None:
        return "PERMISSIVE"
    mode = str(setting.value).upper()
    if mode not in MODES:
        raise _refused(setting, f"must be one of {', '.join(MODES)}, not {setting.value!r}")
    return mode


def _on_error(setting: Setting | None, mode: str) -> OnError:
    if setting is None:
        return OnError(policy="abort") if mode == "FAILFAST" else OnError()
    if mode == "FAILFAST":
        raise _refused(setting, "cannot go with 'mode' = 'FAILFAST', which stops at the first bad record")
    text = str(setting.value).strip()
    words = text.lower().split()
    if words in (["quarantine"], ["skip_file"], ["abort"]):
        return OnError.model_validate({"policy": words[0]})
    if len(words) == 2 and words[0] == "quarantine":  # noqa: PLR2004
        if words[1].isdigit():
            return OnError(max_records=int(words[1]))
        try:
            return OnError(max_ratio=values.share(words[1]))
        except ValueError as error:
            raise _refused(setting, f"the budget {error}") from None
    raise _refused(
        setting, f"must be one of {', '.join(POLICIES)}, or a budget such as 'quarantine 1%', not {setting.value!r}"
    )


def _changed_files(setting: Setting | None) -> ChangedFiles:
    text = "ignore" if setting is None else str(setting.value).lower()
    if text == "ignore":
        return "ignore"
    if text == "append":
        return "append"
    if text == "error":
        return "error"
    if setting is None:
        raise ValueError(text)
    more = "; replace needs an ingest pipeline, whose rows carry their file's name" if text == "replace" else ""
    raise _refused(setting, f"must be one of ignore, error, append, not {setting.value!r}{more}")


def _refused(setting: Setting, what: str) -> StatementRefused:
    return StatementRefused(
        errors.OPTION,
        f"The option {setting.key.text} {what}.",
        remedy="COPY_OPTIONS ('mergeSchema' = 'true', 'force' = 'true') are Databricks'; changedFiles and onError are "
        "those of an ingest pipeline.",
        line=setting.key.place.line,
        column=setting.key.place.column,
    )
