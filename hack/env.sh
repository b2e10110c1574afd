# The Go settings of every build here, sourced by scripts and repeated by the Makefile. Other flags share no build cache
# with these and cost minutes: cgo changes package net and with it everything above it.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
