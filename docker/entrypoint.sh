#!/bin/sh
# Every container starts here: secrets go from the environment into files that only this user can read, then the command
# takes this process's place.
#   SPARK_CONF_DIR          a folder of this container's own
#   SPARK_AUTH_SECRET       shared by Spark's master, workers and drivers; all traffic between them is encrypted by it
#   AIRFLOW_ADMIN_PASSWORD  set for the API server only
set -eu
umask 077

mkdir -p "$SPARK_CONF_DIR"
cat >"$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.authenticate             true
spark.authenticate.secret      ${SPARK_AUTH_SECRET:?is not set: see docker/env.example}
spark.network.crypto.enabled   true
# A standalone master gives an application every core it can get: two pipelines at once would wait for each other.
spark.cores.max                ${SLUICE_CORES_PER_JOB:-2}
CONF

if [ -n "${AIRFLOW_ADMIN_PASSWORD:-}" ]; then
  python -c 'import json, os; print(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}))' \
    >"$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated"
fi

exec "$@"
