// SPDX-License-Identifier: Apache-2.0

// Package registry looks into the repository that holds the registry cache and the snapshots of mounts, deletes tags
// there, and moves the content of snapshots. That of the registry cache is moved by buildkitd.
package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// ErrNoDeletes means that the registry deletes nothing, or nothing for these credentials.
var ErrNoDeletes = errors.New("the registry refuses to delete tags")

// refusals are the statuses with which registries refuse to delete.
var refusals = []int{
	http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusUnauthorized, http.StatusBadRequest,
}

// Repository is one repository with the credentials for it. It is safe for concurrent use.
type Repository struct {
	repo   name.Repository
	puller *remote.Puller // it and pusher ask the registry only once what it wants to see
	pusher *remote.Pusher
}

// Open prepares access to a repository such as registry.example.com/team/cache. dockerConfig is a docker
// configuration with credentials, nil for none; hosts lists the registries that speak plain http.
func Open(repository string, dockerConfig []byte, hosts []v1alpha1.RegistryHost) (*Repository, error) {
	host, _, _ := strings.Cut(repository, "/")
	var opts []name.Option
	if IsPlain(host, hosts) {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(repository, opts...)
	if err != nil {
		return nil, err
	}
	auth := authn.Anonymous
	if dockerConfig != nil {
		config, err := ParseDockerConfig(dockerConfig)
		if err != nil {
			return nil, err
		}
		auth = Authenticator(AuthFor(config, host))
	}
	how := []remote.Option{remote.WithAuth(auth), remote.WithTransport(connections)}
	r := &Repository{repo: repo}
	if r.puller, err = remote.NewPuller(how...); err != nil {
		return nil, err
	}
	r.pusher, err = remote.NewPusher(how...)
	return r, err
}

// IsPlain reports whether hosts has a registry, with its port if any, speak plain http.
func IsPlain(host string, hosts []v1alpha1.RegistryHost) bool {
	return slices.ContainsFunc(
		hosts,
		func(h v1alpha1.RegistryHost) bool { return h.Host == host && h.Scheme == "HTTP" },
	)
}

// ParseDockerConfig reads a docker configuration out of a Secret. Programs that it names as helpers are left out:
// they would be programs of this machine, which a Secret must not name. The error does not quote the content.
func ParseDockerConfig(data []byte) (*configfile.ConfigFile, error) {
	config := configfile.New("")
	if err := config.LoadFromReader(bytes.NewReader(data)); err != nil {
		return nil, errors.New("the registry's Secret does not hold a docker config")
	}
	config.CredentialsStore, config.CredentialHelpers = "", nil
	return config, nil
}

// Authenticator has credentials as a docker configuration holds them.
func Authenticator(found types.AuthConfig) authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	})
}

// Ref is the reference of a tag.
func (r *Repository) Ref(tag string) string { return r.repo.Name() + ":" + tag }

// Tags lists all tags; none when the repository does not exist yet.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	pages, err := r.puller.Lister(ctx, r.repo)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var tags []string
	for n := 0; pages.HasNext(); n++ {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		if tags = append(tags, page.Tags...); len(tags) > maxTags || n > maxPages {
			return nil, fmt.Errorf("%w: %s has more than %d tags", ErrTooLarge, r.repo.Name(), maxTags)
		}
	}
	return tags, nil
}

// Manifest is an image's manifest.
type Manifest struct {
	// Digest of it, as sha256:….
	Digest string
	ocispecs.Manifest
}

// Manifest reads that of a tag, false when there is none. An index for several platforms has no layers.
func (r *Repository) Manifest(ctx context.Context, tag string) (Manifest, bool, error) {
	found, err := r.puller.Get(ctx, r.repo.Tag(tag))
	if isMissing(err) {
		return Manifest{}, false, nil
	}
	if err != nil {
		return Manifest{}, false, err
	}
	m := Manifest{Digest: found.Digest.String()}
	if err := json.Unmarshal(found.Manifest, &m.Manifest); err != nil {
		return Manifest{}, false, fmt.Errorf("the manifest of %s: %w", r.Ref(tag), err)
	}
	return m, true, nil
}

// Digest is what a tag stands for, as sha256:….
func (r *Repository) Digest(ctx context.Context, tag string) (string, error) {
	found, err := r.puller.Head(ctx, r.repo.Tag(tag))
	if err != nil {
		return "", err
	}
	return found.Digest.String(), nil
}

// Delete deletes a tag; one that is gone is no error. Other tags of the same manifest stay, which is why no manifest
// is deleted by its digest.
func (r *Repository) Delete(ctx context.Context, tag string) error {
	err := r.pusher.Delete(ctx, r.repo.Tag(tag))
	var refused *transport.Error
	switch {
	case err == nil, isMissing(err):
		return nil
	case errors.As(err, &refused) && slices.Contains(refusals, refused.StatusCode):
		return fmt.Errorf("%w: %w", ErrNoDeletes, err)
	}
	return err
}

// answerTimeout is how long a registry may take to answer a request that it has been sent whole. It may move
// gigabytes meanwhile.
const answerTimeout = 5 * time.Minute

// connections are those that all repositories share, with buffers for large blobs.
var connections = func() http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.WriteBufferSize, t.ReadBufferSize = 1<<16, 1<<16
	t.ResponseHeaderTimeout = answerTimeout
	return boundedAnswers{t}
}()

func isMissing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
