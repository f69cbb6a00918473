"""Finding the files of a batch that Spark cannot read: all are read into nothing, in halves where that fails. What is
being read is noted before, so that a file which hangs or ends the JVM is named.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.pipeline import Ingest
from include.ledger.attempts import Attempt, AttemptStore
from spark_jobs.engine.batch_files import BatchFile, by_few_shapes, own_columns
from spark_jobs.engine.inference import infer_schema
from spark_jobs.engine.readers import read_files
from spark_jobs.engine.watchdog import restart_if_dead


def root_cause(text: str) -> str:
    """The innermost cause that an error of Spark's names, on one line."""
    causes = re.findall(r"^(?:Caused by: |: )(?:[\w.$]+\.)?(\w+(?:: .*)?)$", text, re.MULTILINE)
    return (causes[-1] if causes else text.strip().splitlines()[0])[:300]


class Isolation:
    """Reads files into nothing; without a schema, only as far as inferring one reads them."""

    def __init__(self, spark: SparkSession, ingest: Ingest, schema: StructType | None, attempts: AttemptStore) -> None:
        self._spark = spark
        self._ingest = ingest
        self._schema = schema
        self._attempts = attempts

    def check(self, batch: int, attempt: Attempt, files: Sequence[BatchFile]) -> tuple[Attempt, dict[str, str]]:
        """The attempt with what was learnt, and the reason for each file that cannot be read."""
        unreadable: dict[str, str] = {}
        suspects = [file for file in files if file.path not in attempt.good and file.report.records != 0]
        together = _in_groups(suspects, attempt.together or max(1, len(suspects)))
        groups: deque[Sequence[BatchFile]] = deque(
            part for group in together for part in by_few_shapes(group)
        )  # a plan of all may not be possible
        while groups:
            group = groups.popleft()
            paths = tuple(file.path for file in group)
            attempt = replace(attempt, checking=paths)
            self._attempts.write(batch, attempt)
            reason = self._failure(group)
            attempt = replace(attempt, checking=())
            if not reason:
                good = attempt.good if self._schema is None else (*attempt.good, *paths)
                attempt = replace(attempt, good=good)
                continue
            restart_if_dead(self._spark, lambda: self._attempts.note_end(batch, "reading it ended the Spark session"))
            if len(group) == 1:
                unreadable[group[0].path] = reason
            else:
                groups.extendleft(reversed(_in_groups(group, (len(group) + 1) // 2)))
        self._attempts.write(batch, attempt)
        return attempt, unreadable

    def _failure(self, files: Sequence[BatchFile]) -> str:
        """Why Spark cannot read the files, or "" if it can."""
        try:
            if self._schema is None:
                infer_schema(self._spark, self._ingest, files)
                return ""
            return self._miscount(files, own_columns(self._ingest, self._schema, files))
        except (Py4JJavaError, PySparkException) as error:
            return f"Spark cannot read it: {root_cause(str(error))}"

    def _miscount(self, files: Sequence[BatchFile], schema: StructType) -> str:
        """What is wrong with the number of records that Spark reads, "" if it is that of the probe."""
        read = Observation()
        frame = read_files(self._spark, self._ingest, schema, files).observe(read, F.count(F.lit(1)).alias("records"))
        frame.write.format("noop").mode("overwrite").save()
        if any(file.report.records is None for file in files):
            return ""
        expected = sum((file.report.records or 0) - len(file.report.bad) for file in files)
        found = read.get["records"]
        return "" if found == expected else f"Spark reads {found} records of {expected}"


def _in_groups(files: Sequence[BatchFile], size: int) -> list[Sequence[BatchFile]]:
    return [files[start : start + size] for start in range(0, len(files), size)]
