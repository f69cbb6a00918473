"""Reading the files of a batch one by one, each noted before and after, so that one which hangs or ends the JVM is
named.
"""

from collections.abc import Sequence
from dataclasses import replace

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.pipeline import Ingest
from include.ledger.attempts import Attempt, AttemptStore
from spark_jobs.engine.readers import BatchFile, infer_schema, read_files
from spark_jobs.engine.watchdog import restart_if_dead


class Isolation:
    """Reads each file by itself into nothing; without a schema, only as far as inferring one reads it."""

    def __init__(self, spark: SparkSession, ingest: Ingest, schema: StructType | None, attempts: AttemptStore) -> None:
        self._spark = spark
        self._ingest = ingest
        self._schema = schema
        self._attempts = attempts

    def check(self, batch: int, attempt: Attempt, files: Sequence[BatchFile]) -> tuple[Attempt, dict[str, str]]:
        """The attempt with what was learnt, and the reason for each file that cannot be read."""
        unreadable: dict[str, str] = {}
        for file in files:
            if file.path in attempt.good or file.report.records == 0:
                continue
            attempt = replace(attempt, checking=file.path)
            self._attempts.write(batch, attempt)
            reason = self._failure(file)
            if reason:
                restart_if_dead(
                    self._spark, lambda: self._attempts.note_end(batch, "reading it ended the Spark session")
                )
                unreadable[file.path] = reason
                attempt = replace(attempt, checking=None)
            else:
                good = attempt.good if self._schema is None else (*attempt.good, file.path)
                attempt = replace(attempt, checking=None, good=good)
        self._attempts.write(batch, attempt)
        return attempt, unreadable

    def _failure(self, file: BatchFile) -> str:
        """Why Spark cannot read the file, or "" if it can."""
        try:
            if self._schema is None:
                infer_schema(self._spark, self._ingest, [file])
                return ""
            return self._miscount(file, self._schema)
        except (Py4JJavaError, PySparkException) as error:
            return f"Spark cannot read it: {str(error).strip().splitlines()[0][:300]}"

    def _miscount(self, file: BatchFile, schema: StructType) -> str:
        """What is wrong with the number of records that Spark reads, "" if it is that of the probe."""
        read = Observation()
        frame = read_files(self._spark, self._ingest, schema, [file]).observe(read, F.count(F.lit(1)).alias("records"))
        frame.write.format("noop").mode("overwrite").save()
        expected, found = file.report.records, read.get["records"]
        if expected is None or found == expected - len(file.report.bad):
            return ""
        return f"Spark reads {found} records of {expected - len(file.report.bad)}"
