// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	cacherepo "github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/hlb/lower"
	hlbregistry "github.com/openllb/hlb-operator/hlb/registry"
)

// registry answers the compiler's questions about manifests, which no call of buildkitd answers. It reaches
// registries as the daemon does: by the BuildCache's mirrors and schemes, with the build's credentials.
type registry struct {
	credentials *credentials // the build's
	job         *Job
}

// Manifest implements the compiler's Registry.
func (r *registry) Manifest(ctx context.Context, ref string, platform ocispecs.Platform) (lower.Manifest, error) {
	if err := r.job.allow(lower.UseImage, ref); err != nil {
		return lower.Manifest{}, err
	}
	places, err := r.places(ref)
	if err != nil {
		return lower.Manifest{}, err
	}
	var failed error
	for _, place := range places {
		m, err := r.manifestAt(ctx, place, platform)
		if err == nil {
			return m, nil
		}
		failed = err // that of the registry itself, which comes last
	}
	return lower.Manifest{}, failed
}

// places are the references under which to look for ref, mirrors first.
func (r *registry) places(ref string) ([]name.Reference, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, err
	}
	host := reference.Domain(named)
	rest := strings.TrimPrefix(named.String(), host)
	var out []name.Reference
	for _, at := range append(r.mirrors(host), host) {
		server, _, _ := strings.Cut(at, "/")
		var opts []name.Option
		if cacherepo.IsPlain(server, r.job.Registries) {
			opts = append(opts, name.Insecure)
		}
		place, err := name.ParseReference(at+rest, opts...)
		if err != nil {
			return nil, err
		}
		out = append(out, place)
	}
	return out, nil
}

func (r *registry) mirrors(host string) []string {
	for _, h := range r.job.Registries {
		if h.Host == host {
			return h.Mirrors[:len(h.Mirrors):len(h.Mirrors)]
		}
	}
	return nil
}

func (r *registry) manifestAt(
	ctx context.Context,
	ref name.Reference,
	platform ocispecs.Platform,
) (lower.Manifest, error) {
	auth, err := r.credentials.authenticator(ctx, ref)
	if err != nil {
		return lower.Manifest{}, err
	}
	plainly := cacherepo.IsPlain(ref.Context().RegistryStr(), r.job.Registries)
	m, err := hlbregistry.Get(ctx, ref, auth, plainly, platform)
	var plain *hlbregistry.PlainError
	if errors.As(err, &plain) {
		err = fmt.Errorf("%w: the BuildCache does not say so in spec.buildkit.registries", plain)
	}
	return m, err
}

// authenticator has the credentials for reading a reference.
func (c *credentials) authenticator(ctx context.Context, ref name.Reference) (authn.Authenticator, error) {
	scopes := []string{"repository:" + ref.Context().RepositoryStr() + ":pull"}
	found, err := c.lookUp(ctx, ref.Context().RegistryStr(), scopes, nil)
	if err != nil || found == (types.AuthConfig{}) {
		return authn.Anonymous, err
	}
	return cacherepo.Authenticator(found), nil
}
