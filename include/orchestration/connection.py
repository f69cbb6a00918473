"""The Airflow connection that says which Spark master runs the jobs. One that is not there is an error, never YARN."""

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from include.config.errors import ConfigError

CONNECTION_ID = "spark_default"


class ConnectionRefused(ConfigError):
    """Raised when the Spark connection is missing or asks for what the guard cannot give."""


def spark_master(conn_id: str = CONNECTION_ID) -> str:
    """The master's URL of a connection, as the Spark provider reads it.

    Raises:
        ConnectionRefused: there is no such connection, it names no master, or it asks for cluster deploy mode, in
            which nothing on this host would hold the table's lock.
    """
    # Imported here: the DAG files import this module's callers at each parse.
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook  # noqa: PLC0415

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConnectionRefused(
            f"There is no Airflow connection {conn_id}.",
            remedy=f"Add it of type spark with the master as host, for example "
            f"""AIRFLOW_CONN_{conn_id.upper()}='{{"conn_type": "spark", "host": "local[*]"}}'.""",
        ) from error
    if not connection.host and connection.conn_type == "spark":
        raise ConnectionRefused(
            f"The Airflow connection {conn_id} names no Spark master.",
            remedy="Set its host: local[*], spark://HOST (and port 7077), or k8s://https://HOST.",
        )
    resolved = SparkSubmitHook(conn_id=conn_id)._connection
    if resolved["deploy_mode"] == "cluster":
        raise ConnectionRefused(
            f"The Airflow connection {conn_id} asks for deploy-mode cluster.",
            remedy="Take client: the driver holds the table's lock while it lives, so it must run beside the task.",
        )
    return str(resolved["master"])
