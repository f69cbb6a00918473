"""What COPY INTO knows of a target table: `<table>/_copy_into/`, beside `_delta_log/`.

It lies in the table's own folder, so it is there wherever the table is, whatever becomes of Sluice's state folder, and
goes with the table when that is dropped, moved or copied. Names that begin with `_` are no data to Delta: VACUUM, by
Spark or by delta-rs, leaves them alone.

| in it | one entry is | written |
|---|---|---|
| `statements/ID.json` | a statement: SQL, parameters, run | before its intent; never changed |
| `ledger/` (Delta) | a file version that a statement is to load; a statement is one batch | by the plan: the intent |
| `decisions/N.json` | what becomes of each file of a batch | before the target's commit; gone with its outcomes |
| `batches/N.json` | the attempts at a batch, and what they taught (include/ledger/attempts.py) | likewise |
| `quarantine/` (Delta) | a record or file that was refused | before the target's commit |
| `rejections/N.json` | why nothing of a batch was loaded | before its outcomes |
| `outcomes/` (Delta) | what became of a file version | last |

Batches are done in the order of their numbers, under the table's lock. A batch is done when its outcomes are there, or
when the target's transaction version says that its rows are; from the latter the former are rebuilt.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from include.config.settings import Settings, join
from include.copy_into.statement import CopyInto, read_statement
from include.copy_into.target import open_target
from include.ledger.copied import STATE, table_settings
from include.ledger.ledger import Ledger, read_batches
from include.ledger.outcomes import last_outcome_batch
from include.ledger.state_files import create_document, delete_document, read_document, write_document
from include.ledger.tables import storage_errors
from include.ledger.target import app_id
from include.ledger.versions import PlannedBatch

__all__ = ["APP_ID", "STATE", "Intent", "TableState"]

APP_ID = app_id(STATE)
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Intent:
    """Who planned a batch: the statement as it was written, and its run. `identity` is the statement's.

    It is kept as text: what a later version of Sluice does not take any more must not keep others from planning.
    """

    run_id: str
    identity: str
    sql: str
    parameters: Mapping[str, str]

    @classmethod
    def of(cls, statement: CopyInto, run_id: str) -> "Intent":
        """That of a statement in a run."""
        return cls(run_id, statement.identity, statement.sql, dict(statement.parameters))

    @property
    def id(self) -> str:
        """Its name in the ledger: one for each statement of a run, so that a task that is tried again has the same, and
        one whose statement was corrected has another.
        """
        return f"{self.run_id}#{self.identity}"

    def statement(self) -> CopyInto:
        """The statement.

        Raises:
            StatementRefused: it was planned by a version of Sluice that took it.
        """
        return read_statement(self.sql, self.parameters)


class TableState:
    """The COPY INTO state of one target table."""

    def __init__(self, settings: Settings, table: str) -> None:
        self.table = table
        self.location = settings.table_root(table)
        self.settings = table_settings(settings, table)

    def ledger(self) -> Ledger:
        """The ledger as it is now."""
        return Ledger(self.settings, STATE)

    def committed(self) -> int:
        """The last batch whose rows the target holds."""
        target = open_target(self.location)
        if target is None:
            return 0
        with storage_errors("Reading the transactions of the target", self.location):
            return target.transaction_version(APP_ID) or 0

    def accounted(self) -> int:
        """The last batch that has outcomes."""
        return last_outcome_batch(self.settings, STATE)

    def done(self) -> int:
        """The last batch that is over."""
        return max(self.committed(), self.accounted())

    def batches(self, first: int, last: int) -> list[PlannedBatch]:
        """The planned batches `first` to `last`."""
        return read_batches(self.settings, STATE, first, last) if first <= last else []

    # ---- documents

    def keep_intent(self, intent: Intent) -> None:
        """Write a statement down before it is planned; its id stands in the ledger's rows."""
        create_document(self._document("statements", _safe(intent.id)), asdict(intent))

    def intent_of(self, batch: int) -> Intent | None:
        """The statement that planned a batch; None where its document is gone."""
        ids = self.ledger().rows(("run_id",), batch, batch)["run_id"].to_pylist()
        document = read_document(self._document("statements", _safe(ids[0]))) if ids else None
        if document is None:
            return None
        return Intent(**{name: document[name] for name in ("run_id", "identity", "sql", "parameters")})

    def decided(self, batch: int) -> Document:
        """What is decided about a batch, and how often it was tried; empty before the first attempt."""
        return read_document(self._document("decisions", str(batch))) or {}

    def decide(self, batch: int, document: Document) -> None:
        """Make `document` what is decided about a batch."""
        write_document(self._document("decisions", str(batch)), document)

    def forget_decision(self, batch: int) -> None:
        """Remove the decision of a batch that has outcomes."""
        delete_document(self._document("decisions", str(batch)))

    def rejection(self, batch: int) -> Document | None:
        """Why nothing of a batch was loaded; None where that is not so."""
        return read_document(self._document("rejections", str(batch)))

    def reject(self, batch: int, failure: Document) -> None:
        """Write down why nothing of a batch is loaded."""
        write_document(self._document("rejections", str(batch)), failure)

    def _document(self, folder: str, name: str) -> str:
        return join(self.location, STATE, folder, f"{name}.json")


def _safe(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()[:32]
