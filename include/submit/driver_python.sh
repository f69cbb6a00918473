#!/bin/sh
# The Python driver of a Spark job, ended with the JVM that started it. Without this a driver whose JVM was killed goes on,
# and may still write the state of a run that is over while the retry is already at work.
#
# Spark puts its Python modules first on the path as zips, which Python compiles anew in each process: more than a second.
# The package that is installed is the same one, compiled.
path=
set -f
IFS=:
for part in $PYTHONPATH; do
    case $part in
        "$SPARK_HOME"/python/lib/*.zip) ;;
        *) path=${path:+$path:}$part ;;
    esac
done
unset IFS
export PYTHONPATH="$path"
exec setpriv --pdeathsig KILL "$PYSPARK_PYTHON" "$@"
