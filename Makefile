# Targets are explained by `make help`. Everything is built once and kept under bin/ and in Go's own build cache.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The same settings everywhere: other flags share no build cache (hack/env.sh says the same to scripts).
export GOTOOLCHAIN := local
export CGO_ENABLED := 0
export GOFLAGS := -buildvcs=false -trimpath

TOOL := go tool -modfile=go.tools.mod
# Tests that start daemons or a cluster share one machine, so packages run one after the other there.
UNIT := $$(go list ./... | grep -v -e /test/attack -e /test/contract -e /test/e2e -e /test/envtest -e /test/scale)
REAL := ./test/envtest/... ./test/contract/... ./test/e2e/...

.PHONY: help
help: ## Explain every target
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

##@ Use

.PHONY: demo
demo: ## Bring up a local cluster and show a cold, a warm and a fresh build (CLUSTER=current: on the current kubeconfig's cluster)
	go run ./test/demo

.PHONY: test
test: ## Run every test: unit, API server, real buildkitd, real cluster
	hack/test.sh

.PHONY: cluster-up
cluster-up: ## Start the local three-node cluster
	go run ./hack/cluster up

.PHONY: cluster-down
cluster-down: ## Stop the local cluster and remove all it made
	go run ./hack/cluster down

.PHONY: images
images: ## Build the images and push them to the local cluster's registry
	go run ./hack/images

##@ Develop

.PHONY: build
build: ## Compile everything
	go build ./...

.PHONY: test-unit
test-unit: ## Run only the tests that need neither a cluster nor a daemon of their own
	go test $(UNIT)

.PHONY: generate
generate: ## Generate deep copies, CRDs and the manager's role
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(TOOL) controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=hlb-operator-manager paths=./controllers/... output:rbac:artifacts:config=config/rbac

.PHONY: lint
lint: ## Format check, go vet and golangci-lint
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	go vet ./...
	go tool -modfile=hack/lint/go.mod golangci-lint run

.PHONY: verify
verify: generate lint ## Regenerate, lint and demand a clean tree
	go mod tidy
	test -z "$$(git status --porcelain)"

##@ Measure (results go to out/)

.PHONY: sim
sim: ## Replay workloads against placement policies (TRACE=FILE.tsv.gz for a recording)
	go run ./cmd/sim $(if $(TRACE),-trace $(TRACE))

FIGURES := sim-load sim-load-priming sim-hits-u35 sim-hits-trace-priming-churn sim-bytes-trace-priming-churn sim-queue-u25-churn
.PHONY: figures
figures: ## Draw the plots of docs/evaluation.md anew (TRACE=FILE.tsv.gz: the recording of 2019)
	go run ./cmd/sim $(if $(TRACE),-trace $(TRACE)) -workloads '^(load-.*|u35|u25-churn|trace-priming-churn)$$' -out out/figures
	for f in $(FIGURES); do cp out/figures/$$f.svg docs/images/; done

.PHONY: bench
bench: bench-scheduler bench-hlb bench-cache bench-scale ## Run every benchmark

.PHONY: bench-scheduler
bench-scheduler: ## Measure placement decisions beside a hash ring
	go run ./cmd/bench-scheduler

.PHONY: bench-scale
bench-scale: ## Count what 10,000 builds on 100 daemons cost a real API server (BUILDS, DAEMONS, CONFIGMAPS, PODS, LEASES change the numbers; PROFILES=DIR keeps profiles)
	go test -count=1 -v -timeout 3h -run TestManyBuildsAreAllBuiltOnce ./test/scale -scale.builds=$(or $(BUILDS),10000) \
		-scale.daemons=$(or $(DAEMONS),100) -scale.keys=$(or $(KEYS),1000) -scale.singles=200 -scale.still=30s -scale.limit=2h \
		-scale.configmaps=$(or $(CONFIGMAPS),5000) -scale.pods=$(or $(PODS),2000) -scale.leases=$(or $(LEASES),1000) \
		-scale.out=$(CURDIR)/out/scale.json $(if $(PROFILES),-scale.profiles=$(abspath $(PROFILES)))

.PHONY: attack
attack: ## Run builds that want what they may not have beside a neighbour's (ONLY picks attacks)
	go test -count=1 -v -timeout 1h ./test/attack -attack.all $(if $(ONLY),-attack.only=$(ONLY)) \
		-attack.out=$(CURDIR)/out/attack.json

.PHONY: chaos
chaos: ## Inject faults while builds run, and count what becomes of the builds (SEED repeats a run, ONLY picks scenarios)
	go test -count=1 -v -timeout 3h ./test/e2e/chaos -run TestChaos -chaos.all -chaos.seed=$(or $(SEED),1) \
		$(if $(ONLY),-chaos.only=$(ONLY)) -chaos.out=$(CURDIR)/out/chaos.json

.PHONY: bench-hlb
bench-hlb: ## Measure the HLB compiler on generated programs
	go run ./cmd/bench-hlb -o out/bench-hlb.json

.PHONY: bench-cache
bench-cache: ## Measure snapshots and priming of cache mounts on real daemons
	mkdir -p out
	BENCH_OUT=$(CURDIR)/out/bench-cache.json go test -tags bench -count=1 -timeout 20m -run TestBenchCache -v ./test/benchcache
