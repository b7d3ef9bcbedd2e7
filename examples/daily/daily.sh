#!/bin/sh
# Every night, from cron:
#
#     15 3 * * *  cd /srv/shop && sh daily.sh update "$(date -d yesterday +\%F)"
#     15 5 * * 0  cd /srv/shop && sh daily.sh backtest "$(date +\%F)"
#
# The folder holds schema.yaml, config.yaml and days/, a Parquet file a day. `sh daily.sh first` begins.
# Every command may be repeated: what is finished is kept, and what was interrupted goes on.
set -eu

MODEL=${MODEL:-shop}          # the name in schema.yaml, under which bundles are registered
WINDOW=${WINDOW:-7}           # days of the backtest's first bundle, and of training from scratch
PERIOD=${PERIOD:-1d}          # how long a day is in the column of time
RETIRE=${RETIRE:-90d}         # ids unseen for so long lose their rows

case "$1" in
first)
    # From nothing to a champion: the first one serves, whatever it scores.
    recmtl run --data days --schema schema.yaml --config config.yaml --promote always \
        --out runs/first
    ;;
update)
    # The champion goes on with one day. The new bundle becomes champion if it beats the present one
    # on that day's test rows; if anything fails, the champion stays.
    recmtl update --run "models:/$MODEL@champion" --data "days/$2.parquet" --config config.yaml \
        --retire-after "$RETIRE" --out "runs/$2"
    ;;
backtest)
    # Is a warm start still safe? Status 3 says that it is proven behind training from scratch.
    recmtl backtest --data days --schema schema.yaml --config config.yaml --window "$WINDOW" \
        --period "$PERIOD" --strategies frozen,warm,scratch --require warm --out "runs/backtest-$2"
    ;;
*)
    echo "usage: sh daily.sh first | update DAY | backtest NAME" >&2
    exit 2
    ;;
esac
