"""What COPY INTO is measured against, besides the file source: read the folder, drop the files whose paths stand in the
table already, append the rest.
"""

import argparse

from pyspark.sql import SparkSession


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--schema", required=True)
    args = parser.parse_args()
    spark = SparkSession.builder.appName("anti join").getOrCreate()
    reader = spark.read.option("recursiveFileLookup", "true").schema(args.schema)
    files = reader.json(args.source).select("*", "_metadata.file_path").withColumnRenamed("file_path", "file")
    loaded = spark.read.format("delta").load(args.table).select("file").distinct()
    new = files.join(loaded, "file", "left_anti").select("id", "name", "file")
    new.write.format("delta").mode("append").save(args.table)
    spark.stop()


if __name__ == "__main__":
    main()
