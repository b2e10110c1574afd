// SPDX-License-Identifier: Apache-2.0

// Package registry asks registries themselves about images, for the manifest builtin: no call of buildkitd answers
// with manifests.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/lower"
)

// patience bounds one look-up, retries included.
const patience = time.Minute

// Get looks up what ref names, and of an index the image for the platform. It speaks http only if plain; otherwise an
// http address is a *PlainError.
func Get(
	ctx context.Context,
	ref name.Reference,
	auth authn.Authenticator,
	plain bool,
	platform ocispecs.Platform,
) (lower.Manifest, error) {
	ctx, cancel := context.WithTimeoutCause(
		ctx,
		patience,
		fmt.Errorf("%s gave no answer in %v", ref.Context().RegistryStr(), patience),
	)
	defer cancel()
	m, err := get(
		ref,
		platform,
		remote.WithContext(ctx),
		remote.WithAuth(auth),
		remote.WithTransport(&cautious{remote.DefaultTransport, plain}),
		remote.WithPlatform(
			v1.Platform{
				OS:           platform.OS,
				Architecture: platform.Architecture,
				Variant:      platform.Variant,
				OSVersion:    platform.OSVersion,
			},
		),
	)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return m, err
}

func get(ref name.Reference, platform ocispecs.Platform, opts ...remote.Option) (lower.Manifest, error) {
	found, err := remote.Get(ref, opts...)
	if err != nil {
		return lower.Manifest{}, err
	}
	m := lower.Manifest{Digest: digest.Digest(found.Digest.String())}
	if found.MediaType.IsIndex() {
		m.Index = string(found.Manifest)
	}
	image, err := found.Image()
	if err != nil {
		return lower.Manifest{}, fmt.Errorf("the image for %s/%s: %w", platform.OS, platform.Architecture, err)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return lower.Manifest{}, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return lower.Manifest{}, err
	}
	m.Manifest, m.Config = string(manifest), string(config)
	return m, nil
}

// User looks up manifests for a user at their own machine, with the credentials of their docker config. Registries on
// loopback may speak http, as buildkitd has it.
type User struct{}

// Manifest implements lower.Registry.
func (User) Manifest(ctx context.Context, ref string, platform ocispecs.Platform) (lower.Manifest, error) {
	named, plain, opts, err := userRef(ref)
	if err != nil {
		return lower.Manifest{}, err
	}
	at, err := name.ParseReference(named.String(), opts...)
	if err != nil {
		return lower.Manifest{}, err
	}
	auth, err := authn.DefaultKeychain.Resolve(at.Context())
	if err != nil {
		return lower.Manifest{}, fmt.Errorf("credentials for %s: %w", at.Context().RegistryStr(), err)
	}
	return Get(ctx, at, auth, plain, platform)
}

// userRef reads a reference of a user's. plain is set where its registry may speak http, and then in the options too.
func userRef(ref string) (named reference.Named, plain bool, opts []name.Option, err error) {
	if named, err = reference.ParseDockerRef(ref); err != nil {
		return nil, false, nil, err
	}
	if plain = isLoopback(reference.Domain(named)); plain {
		opts = append(opts, name.Insecure)
	}
	return named, plain, opts, nil
}

// isLoopback reports whether host, with or without a port, is this machine.
func isLoopback(host string) bool {
	u := url.URL{Host: host}
	return u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
}
