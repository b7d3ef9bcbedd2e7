#!/bin/sh
# The cluster of docker-compose.yaml as processes of this machine, for as long as a command runs:
#
#     examples/spark/standalone.sh recmtl prepare --out runs/mine --engine spark --master spark://127.0.0.1:7077
set -eu
export SPARK_HOME="${SPARK_HOME:-$(python -c 'import pyspark; print(pyspark.__path__[0])')}"
export SPARK_LOCAL_IP=127.0.0.1 OMP_NUM_THREADS=1
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$(command -v python)}"
logs="$(mktemp -d)"
started=""
stop() {
    for process in $started; do kill "$process" 2>/dev/null || true; done
    rm -rf "$logs"
}
trap stop EXIT
trap 'exit 143' INT TERM HUP
begin() {
    "$SPARK_HOME/bin/spark-class" "$@" >>"$logs/cluster" 2>&1 &
    started="$started $!"
}
begin org.apache.spark.deploy.master.Master --host 127.0.0.1 --port 7077 --webui-port 0
for worker in 1 2; do
    begin org.apache.spark.deploy.worker.Worker --cores 1 --memory 1g --webui-port 0 \
        --work-dir "$logs/$worker" spark://127.0.0.1:7077
done
"$@"
