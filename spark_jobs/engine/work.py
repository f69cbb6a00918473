"""A batch between its plan and its commit, as a value: what is read, what is left out, what is refused. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from include.config.errors import DataRefused
from include.config.ingest import OnError
from include.ledger.attempts import Decision
from include.ledger.quarantine import Refusal
from include.ledger.versions import PlannedBatch
from include.probe.probe import FileReport, Verdict
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.schemas import SchemaVersion


@dataclass(frozen=True)
class Work:
    """A batch between its plan and its commit: what is read, what is left out and why, which records do not fit."""

    planned: PlannedBatch
    schema: SchemaVersion
    readable: Sequence[BatchFile]
    left_out: Mapping[str, FileReport]
    misfits: Sequence[Refusal] = ()
    tried: bool = False  # Spark has looked for misfits: they are filtered, no longer an error
    widened: bool = False  # what does not fit has widened what columns it can

    def without(self, path: str, reason: str) -> "Work":
        """The same work, one file less."""
        out = next(file for file in self.readable if file.path == path)
        verdict: Verdict = "superseded" if out.report.verdict == "superseded" else "broken"
        report = replace(out.report, verdict=verdict, reason=reason)
        return replace(
            self,
            readable=[file for file in self.readable if file.path != path],
            left_out={**self.left_out, path: report},
            misfits=[refusal for refusal in self.misfits if refusal.path != path],
        )

    def rescuing(self, paths: Collection[str]) -> "Work":
        """The same work; what does not fit the schema is rescued from these files."""
        marked = [replace(file, rescue=True) if file.path in paths else file for file in self.readable]
        return replace(self, readable=marked)

    def doubting(self, paths: Collection[str]) -> "Work":
        """The same work; what does not fit the schema is quarantined from these files, as it stands there."""
        marked = [replace(file, doubt=True) if file.path in paths else file for file in self.readable]
        return replace(self, readable=marked)

    @property
    def full(self) -> list[BatchFile]:
        """The files that are read and are not empty."""
        return [file for file in self.readable if file.report.records != 0]

    def refused_records(self) -> int:
        """How many records of readable files are refused."""
        return len(self.misfits) + sum(len(file.report.bad) for file in self.readable)


def under_policy(work: Work, rule: OnError) -> Work:
    """Apply `on_error`: leave out each file that has a refused record, or refuse the batch.

    Raises:
        DataRefused: the policy is abort, or the budget is spent.
    """
    refused = work.refused_records()
    broken = [report for report in work.left_out.values() if report.verdict == "broken"]
    if rule.policy == "abort" and (refused or broken):
        raise _refusal(work, "on_error: abort")
    if rule.max_records is not None and refused > rule.max_records:
        raise _refusal(work, f"the budget of {rule.max_records} records")
    if rule.max_ratio is not None and refused > rule.max_ratio * _count(work):
        raise _refusal(work, f"the budget of {rule.max_ratio:.2%} of {_count(work)} records")
    if rule.policy == "skip_file":
        for path, reason in first_refusals(work).items():
            work = work.without(path, f"skip_file: {reason}")
    return work


def _refusal(work: Work, rule: str) -> DataRefused:
    reasons = {**{path: report.reason for path, report in work.left_out.items()}, **first_refusals(work)}
    path, reason = next(iter(reasons.items()))
    return DataRefused(
        f"{rule}: {work.refused_records()} records of {len(reasons)} files do not fit; first: {path}, {reason}. "
        f"Nothing of batch {work.planned.batch} was loaded.",
        remedy="Mend the files, or set on_error: quarantine to load the rest.",
        path=path,
    )


def decisions(work: Work) -> dict[str, Decision]:
    """What is to become of each file of the batch."""
    read = {file.path: Decision("load", file.report.records) for file in work.readable}
    out = {
        path: Decision("superseded" if report.verdict == "superseded" else "quarantine", report.records)
        for path, report in work.left_out.items()
    }
    return {**read, **out}


def refusals(work: Work) -> list[Refusal]:
    """Everything of the batch that is refused: files as a whole, and records of the others."""
    versions = {file.path: file.version for file in work.planned.files}
    whole = [
        Refusal(path, versions[path], report.reason, records=report.records or 0)
        for path, report in work.left_out.items()
        if report.verdict == "broken"
    ]
    single = [
        Refusal(file.path, file.version, bad.reason, bad.record, bad.raw.decode("utf-8", "backslashreplace"))
        for file in work.readable
        for bad in file.report.bad
    ]
    return [*whole, *single, *work.misfits]


def first_refusals(work: Work) -> dict[str, str]:
    """For each readable file with refused records: where the first is, and why."""
    first = {
        file.path: _where(file.report.bad[0].record, file.report.bad[0].reason)
        for file in work.readable
        if file.report.bad
    }
    for refusal in work.misfits:
        first.setdefault(refusal.path, _where(refusal.record, refusal.reason, line=refusal.line))
    return first


def _where(record: int | None, reason: str, *, line: bool = True) -> str:
    return f"{'line' if line else 'record'} {record}: {reason}" if record else reason


def _count(work: Work) -> int:
    return sum(file.report.records or 0 for file in work.readable)
