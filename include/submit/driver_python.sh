#!/bin/sh
# The Python driver of a Spark job, ended with the JVM that started it. Without this a driver whose JVM was killed goes on,
# and may still write the state of a run that is over while the retry is already at work.
exec setpriv --pdeathsig KILL "$PYSPARK_PYTHON" "$@"
