#!/usr/bin/env bash
# run_310_infer.sh under its other documented name.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_310_infer.sh" "$@"
