#!/usr/bin/env bash
# Runs every test and prints ordinary `go test` results. First what needs no machine of its own, in parallel; then what
# measures an API server or starts a cluster, one package after the other. A failure does not keep later tests from
# running.
set -uo pipefail
cd "$(dirname "$0")/.."
source hack/env.sh

status=0
step() { echo "== $*"; "$@" || status=1; }

# Kubernetes, BuildKit and the rest are built before the first test, so that no test's time-out pays for a compiler.
step go run ./hack/cluster build
mapfile -t most < <(go list ./... | grep -v -e /test/attack -e /test/e2e -e /test/envtest -e /test/scale)
# Tests with daemons of their own mostly wait for the kernel, so more of them run at once than there are processors.
step go test -timeout 20m -p 3 -parallel 6 -tags integration "${most[@]}"
step go test -timeout 20m -p 1 ./test/envtest/... ./test/scale/...
step go test -timeout 40m -p 1 -v ./test/e2e/... ./test/attack
exit "$status"
