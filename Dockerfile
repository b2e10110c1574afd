# The release images. `docker build --target operator -t ghcr.io/openllb/hlb-operator:TAG .` holds manager and agent,
# `--target buildkit -t ghcr.io/openllb/hlb-operator-buildkit:TAG` the daemon the operator runs. Development and the tests
# use hack/images instead, which needs no container engine.
ARG GO_VERSION=1.26
ARG BUILDKIT_VERSION=v0.34.2

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/manager ./cmd/agent ./cmd/mountcopy ./cmd/stepnet

# Upstream's image has all a daemon needs: buildkitd, buildctl, runc, git, ssh and CA certificates.
FROM moby/buildkit:${BUILDKIT_VERSION} AS buildkit

FROM gcr.io/distroless/static:nonroot AS operator
COPY --from=build /out/manager /out/agent /out/mountcopy /out/stepnet /
USER 65532:65532
ENTRYPOINT ["/manager"]
