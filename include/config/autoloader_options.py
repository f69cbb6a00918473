"""Auto Loader's own options (`cloudFiles.*` and its generic ones): what Sluice has, and why not the rest."""

from include.config.option import (
    ALWAYS,
    COLUMNS,
    COUNT,
    FILE_GLOB,
    FILLED,
    FLAG,
    FORMATS,
    HINTS,
    MOMENT,
    SIZE,
    Option,
    choice,
)

PREFIX = "cloudFiles."
EVOLUTION_MODES = ("addNewColumns", "addNewColumnsWithTypeWidening", "rescue", "failOnNewColumns", "none")

# Field of IngestOptions -> the option that sets it.
OPTIONS: dict[str, Option] = {
    "format": Option(f"{PREFIX}format", choice(*FORMATS), "The format of the files. Required."),
    "infer_column_types": Option(
        f"{PREFIX}inferColumnTypes", FLAG, "Infer the types of JSON and CSV columns; without it they are STRING."
    ),
    "schema_hints": Option(
        f"{PREFIX}schemaHints",
        HINTS,
        "Types of some columns as DDL, also below others: a.b int, a.element int, a.value int; the rest is inferred.",
    ),
    "schema_evolution_mode": Option(
        f"{PREFIX}schemaEvolutionMode",
        choice(*EVOLUTION_MODES),
        "What happens to columns that the schema does not know; addNewColumns, or none with a declared schema.",
    ),
    "max_files_per_trigger": Option(
        f"{PREFIX}maxFilesPerTrigger", COUNT, "The most files of one micro-batch; 1000 by default."
    ),
    "max_bytes_per_trigger": Option(
        f"{PREFIX}maxBytesPerTrigger", SIZE, "The bytes after which a micro-batch is closed; no limit by default."
    ),
    "sample_files": Option(
        f"{PREFIX}schemaInference.sampleSize.numFiles",
        COUNT,
        "The first schema is inferred from that many files of the first micro-batch; from all by default.",
        aliases=("spark.databricks.cloudFiles.schemaInference.sampleSize.numFiles",),
    ),
    "sample_bytes": Option(
        f"{PREFIX}schemaInference.sampleSize.numBytes",
        SIZE,
        "As numFiles, by bytes: the file that reaches them is the last one; with both, whichever comes first.",
        aliases=("spark.databricks.cloudFiles.schemaInference.sampleSize.numBytes",),
    ),
    "include_existing_files": Option(
        f"{PREFIX}includeExistingFiles", FLAG, "Load the files that are there when the pipeline first runs; true."
    ),
    "partition_columns": Option(
        f"{PREFIX}partitionColumns", COLUMNS, "Columns to take from Hive-style folders such as year=2026/."
    ),
    "path_glob_filter": Option(
        "pathGlobFilter", FILE_GLOB, "Only files whose name matches this pattern.", aliases=("fileNamePattern",)
    ),
    "modified_after": Option(
        "modifiedAfter", MOMENT, "Only files changed after this moment (UTC where no zone is named)."
    ),
    "modified_before": Option("modifiedBefore", MOMENT, "Only files changed before this moment."),
    "rescued_data_column": Option(
        "rescuedDataColumn", FILLED, "The column for values that do not fit the schema; _rescued_data by default."
    ),
}

# Says what Sluice does anyway, so it sets no field.
RECURSIVE = Option("recursiveFileLookup", ALWAYS, "Sub-folders are read; always true.")

_LISTED = "Sluice lists the source itself, without a notification service"
_ENVIRONMENT = "credentials belong to the environment or to the object store's credential chain"
REFUSED_OPTIONS: dict[str, str] = {
    f"{PREFIX}allowOverwrites": "say with ingest.changed_files what happens to a path that comes with other content",
    f"{PREFIX}backfillInterval": f"{_LISTED}, so every run is a full backfill",
    f"{PREFIX}cleanSource": "Sluice never moves or deletes what it has loaded",
    f"{PREFIX}cleanSource.retentionDuration": "Sluice never moves or deletes what it has loaded",
    f"{PREFIX}cleanSource.moveDestination": "Sluice never moves or deletes what it has loaded",
    f"{PREFIX}maxFileAge": "the ledger never forgets a file, so no age limit is needed",
    f"{PREFIX}schemaLocation": "the versions of the schema are kept in the pipeline's state folder",
    f"{PREFIX}validateOptions": "options are always checked",
    f"{PREFIX}useStrictGlobber": "patterns always match as Spark's own globs do",
    f"{PREFIX}useIncrementalListing": "every listing is complete, so that no late file is missed",
    f"{PREFIX}listOnStart": "every run lists",
    f"{PREFIX}useNotifications": f"{_LISTED}; start runs by schedule, asset or REST call",
    f"{PREFIX}useManagedFileEvents": f"{_LISTED}; start runs by schedule, asset or REST call",
    f"{PREFIX}fetchParallelism": _LISTED,
    f"{PREFIX}pathRewrites": _LISTED,
    f"{PREFIX}resourceTag": _LISTED,
    f"{PREFIX}queueUrl": _LISTED,
    f"{PREFIX}queueName": _LISTED,
    f"{PREFIX}subscription": _LISTED,
    f"{PREFIX}region": f"{_LISTED}; {_ENVIRONMENT}",
    f"{PREFIX}roleArn": _ENVIRONMENT,
    f"{PREFIX}clientId": _ENVIRONMENT,
    f"{PREFIX}tenantId": _ENVIRONMENT,
    f"{PREFIX}subscriptionId": _ENVIRONMENT,
    f"{PREFIX}resourceGroup": _ENVIRONMENT,
    f"{PREFIX}projectId": _ENVIRONMENT,
}
