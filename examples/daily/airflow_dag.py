"""The same for Airflow 2 or 3: an update every night, and a backtest on Sundays.

Put this file into the folder of DAGs, and `daily.sh` with schema, configuration and days into the
folder that the variable `recmtl_folder` names. A task that fails may be retried: a job goes on
where it was interrupted.
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

COMMAND = "sh daily.sh"
RETRIES = {"retries": 2, "retry_delay": timedelta(minutes=10)}

with DAG(
    "recmtl_update",
    schedule="15 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # each update starts from the champion that the one before may have made
    default_args=RETRIES,
) as update:
    BashOperator(
        task_id="update",
        bash_command=f"{COMMAND} update {{{{ ds }}}}",
        cwd="{{ var.value.recmtl_folder }}",
    )

with DAG(
    "recmtl_backtest",
    schedule="15 5 * * 0",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args=RETRIES,
) as backtest:
    BashOperator(
        task_id="backtest",
        bash_command=f"{COMMAND} backtest {{{{ ds }}}}",
        cwd="{{ var.value.recmtl_folder }}",
    )
