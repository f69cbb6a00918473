"""What Sluice is measured against: Spark's own file source into Delta, availableNow, as its documentation shows it."""

import argparse

from pyspark.sql import SparkSession


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--schema", required=True)
    args = parser.parse_args()
    spark = SparkSession.builder.appName("file source").getOrCreate()
    stream = spark.readStream.schema(args.schema).json(args.source)
    query = (
        stream.writeStream.format("delta")
        .option("checkpointLocation", args.checkpoint)
        .trigger(availableNow=True)
        .start(args.table)
    )
    query.awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main()
