"""The probe of the next pending batch, begun while Spark is busy otherwise: with its start, or the batch before."""

import threading

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.ledger import read_batches
from include.ledger.pending import pending
from include.probe.probe import FileReport
from include.probe.records import Spec, spec_of
from include.probe.tasks import likely_schema, probe_tasks, spool_of
from include.probe.workers import ProbePool


class Ahead:
    """Looks at the files of a pending batch in the background; `take` gives what it found, if it fits."""

    def __init__(self, pool: ProbePool, settings: Settings, pipeline: Pipeline) -> None:
        self._pool = pool
        self._settings = settings
        self._pipeline = pipeline
        self._found: tuple[int, Spec | None, list[FileReport]] | None = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def begin(self, batch: int | None = None) -> "Ahead":
        """Begin with that batch, by default the first pending one. Nobody else may use the pool until `take`."""
        self._thread = threading.Thread(target=self._run, args=(batch,), name="sluice-probe-ahead", daemon=True)
        self._thread.start()
        return self

    def take(self, batch: int, spec: Spec | None) -> list[FileReport] | None:
        """The reports on that batch under that schema, once; None where something else was looked at.

        Raises:
            SluiceError: what stopped the look, as it would have stopped it later.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        found, self._found = self._found, None
        return found[2] if found is not None and found[:2] == (batch, spec) else None

    def _run(self, batch: int | None) -> None:
        try:
            batch = batch or pending(self._settings, self._pipeline).first
            if batch is None:
                return
            ingest = self._pipeline.ingestion()
            (planned,) = read_batches(self._settings, self._pipeline.name, batch, batch)
            schema = likely_schema(self._settings, self._pipeline.name, ingest)
            spec = spec_of(schema)
            spool = spool_of(self._settings, self._pipeline.name, batch)
            refuse = ingest.refuses_unknown
            reports = self._pool.map(
                probe_tasks(self._settings, ingest, planned.files, spec, spool, refuse_unknown=refuse, schema=schema)
            )
            self._found = (batch, spec, reports)
        except Exception as error:  # noqa: BLE001  raised by `take`, in the thread that waits for it
            self._error = error
