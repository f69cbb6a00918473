"""What a probe is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from include.probe.plain_values import Look
from include.probe.records import BadRecord, Spec
from include.probe.streams import Planned

Verdict = Literal["ok", "broken", "superseded"]


@dataclass(frozen=True)
class ProbeTask:
    """What a worker needs to look at one file.

    `spec` holds the keys that the schema knows (JSON), None before there is a schema. `keep` asks for the content of a
    clean JSON file. `spool` is the folder for a clean copy where one is needed; None where nothing may be written.
    `thorough` asks for every byte to be read whatever that costs, because Spark has failed on the batch. With
    `refuse_unknown` a JSON record that has a key which the schema lacks is a bad one. `columns` (types by name) asks
    for the records of JSON and CSV files with a value of another type, or the types that other files say they have: a
    plan's question, a load asks Spark. `as_rows` asks for a clean copy of a CSV file that needs no reader of its own
    for its header (see csv_rows.py). `exact` holds the CSV columns of which the `looks` are asked for.
    """

    path: str
    planned: Planned
    format: str
    spec: Spec | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    spool: str | None = None
    thorough: bool = False
    refuse_unknown: bool = False
    columns: Mapping[str, Any] | None = None
    as_rows: bool = False
    exact: Mapping[str, Look] = field(default_factory=dict)

    @property
    def any_keys(self) -> bool:
        """True where a record goes to one column as it is, so that no key of it is unknown."""
        return "singleVariantColumn" in self.options


@dataclass(frozen=True)
class FileReport:
    """What the look found.

    `records` is the independent count (None where the format gives none without parsing); `bad` are records that must
    not be loaded although Spark's reader might accept them; `unknown` maps a key that the schema does not have to the
    first record with it; `shape` tells files apart that need a reader of their own (CSV: the header; Parquet, ORC,
    Avro: the Arrow schema); `content` is the file's text, as it was looked at, where the task asked to keep it.

    `spool` is where the clean copy lies that is read in place of the file ("" where the file itself is read); it holds
    no `bad` record. It may have another format (`reads_as`, "" for the file's own) and take other `options`.
    `looks` tells of CSV columns, by position, that their values are plain: see plain_values.py.
    `misfits` are records with a value of another type, where the task asked for them. Of files that say their columns'
    types, `columns` are these instead, as a struct in Spark's JSON form.
    """

    path: str
    verdict: Verdict
    reason: str = ""
    records: int | None = None
    bad: tuple[BadRecord, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[str, ...] = ()
    content: bytes | None = None
    spool: str = ""
    reads_as: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    misfits: tuple[BadRecord, ...] = ()
    columns: Any = None
    looks: Mapping[int, Look] = field(default_factory=dict)
