// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/lower"
)

// lookUpTimeout bounds one question to a registry, retries included.
const lookUpTimeout = time.Minute

// registry answers the compiler's questions about manifests, which no call of buildkitd answers. It reaches registries as the daemon does: by
// the BuildCache's mirrors and schemes, with the build's credentials.
type registry struct {
	credentials *credentials
	hosts       []v1alpha1.RegistryHost
}

// Manifest implements the compiler's Registry.
func (r *registry) Manifest(ctx context.Context, ref string, platform ocispecs.Platform) (lower.Manifest, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookUpTimeout, fmt.Errorf("no answer in %v", lookUpTimeout))
	defer cancel()
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
	return lower.Manifest{}, errors.Join(failed, context.Cause(ctx))
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
		if r.isPlain(server) {
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
	for _, h := range r.hosts {
		if h.Host == host {
			return h.Mirrors[:len(h.Mirrors):len(h.Mirrors)]
		}
	}
	return nil
}

func (r *registry) isPlain(host string) bool {
	for _, h := range r.hosts {
		if h.Host == host {
			return h.Scheme == "HTTP"
		}
	}
	return false
}

func (r *registry) manifestAt(ctx context.Context, ref name.Reference, platform ocispecs.Platform) (lower.Manifest, error) {
	auth, err := r.credentials.authenticator(ctx, ref)
	if err != nil {
		return lower.Manifest{}, err
	}
	transport := &cautious{next: remote.DefaultTransport, plain: r.isPlain(ref.Context().RegistryStr())}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(auth), remote.WithTransport(transport), remote.WithPlatform(v1.Platform{
		OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant, OSVersion: platform.OSVersion,
	}))
	if err != nil {
		return lower.Manifest{}, err
	}
	m := lower.Manifest{Digest: digest.Digest(found.Digest.String())}
	if found.MediaType.IsIndex() {
		m.Index = string(found.Manifest)
	}
	image, err := found.Image()
	if err != nil {
		return lower.Manifest{}, err
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

// authenticator has the credentials for reading a reference.
func (c *credentials) authenticator(ctx context.Context, ref name.Reference) (authn.Authenticator, error) {
	host := ref.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = authprovider.DockerHubRegistryHost
	}
	found, err := c.lookUp(ctx, host, []string{"repository:" + ref.Context().RepositoryStr() + ":pull"}, nil)
	if err != nil || found == (types.AuthConfig{}) {
		return authn.Anonymous, err
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	}), nil
}
