// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"

	"github.com/openllb/hlb-operator/agent/inputs"
	cacherepo "github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

// credentials answer for registries in the jobs of one kind. They are not changed once made.
type credentials struct {
	configs []*configfile.ConfigFile // the build's, first match wins
	cache   *configfile.ConfigFile   // the BuildCache's, nil for none
	// repository is the BuildCache's, the only one that its credentials are for.
	repository cacheref.Repository
	// actions are what the BuildCache's credentials are given out for.
	actions []string
	// alone is set where nothing but the BuildCache's build cache is read or written on its host. A registry without
	// tokens does not say which repository is asked for.
	alone bool
}

// newCredentials are the build's. Nothing of the BuildCache's is given out.
func newCredentials(in *inputs.Inputs, repository string) (*credentials, error) {
	c := &credentials{}
	for _, data := range in.Registries {
		config, err := parseDockerConfig(data)
		if err != nil {
			return nil, err
		}
		c.configs = append(c.configs, config)
	}
	ref, err := cacheref.Parse(repository)
	if err != nil || in.CacheRegistry == nil {
		return c, nil // there is no repository, or it needs no credentials
	}
	c.repository = ref.Repository
	c.cache, err = parseDockerConfig(in.CacheRegistry)
	return c, err
}

func parseDockerConfig(data []byte) (*configfile.ConfigFile, error) {
	config, err := cacherepo.ParseDockerConfig(data)
	if err != nil {
		return nil, &CredentialError{"A Secret of type kubernetes.io/dockerconfigjson does not hold a docker config"}
	}
	return config, nil
}

// pulling are those for a job that imports the BuildCache's build cache. others are the hosts of all registries that
// the job is about otherwise, as cacheref.Host has them.
func (c *credentials) pulling(others []string) *credentials {
	out := *c
	out.actions, out.alone = []string{"pull"}, !slices.Contains(others, c.repository.Host)
	return &out
}

// pushing are those for a job that exports the BuildCache's build cache, and pushes nothing else.
func (c *credentials) pushing() *credentials {
	out := *c
	out.actions, out.alone = []string{"pull", "push"}, true
	return &out
}

// lookUp implements authprovider.AuthConfigProvider. The BuildCache's credentials are for its repository, the build's
// for everything else.
func (c *credentials) lookUp(
	_ context.Context,
	host string,
	scopes []string,
	_ authprovider.ExpireCachedAuthCheck,
) (types.AuthConfig, error) {
	configs := c.configs
	if c.cache != nil && cacheref.Host(host) == c.repository.Host && c.isCache(scopes) {
		configs = append([]*configfile.ConfigFile{c.cache}, configs...)
	}
	for _, config := range configs {
		if found := cacherepo.AuthFor(config, host); found != (types.AuthConfig{}) {
			return found, nil
		}
	}
	return types.AuthConfig{}, nil
}

// isCache reports whether scopes, such as "repository:team/cache:pull,push", are about nothing but what the
// BuildCache's credentials are given out for.
func (c *credentials) isCache(scopes []string) bool {
	if len(scopes) == 0 {
		return c.alone
	}
	for _, s := range scopes {
		actions, is := strings.CutPrefix(s, "repository:"+c.repository.Path+":")
		if !is {
			return false
		}
		for action := range strings.SplitSeq(actions, ",") {
			if !slices.Contains(c.actions, action) {
				return false
			}
		}
	}
	return true
}

// authServer answers for registries in the sessions of one kind of one build. BuildKit lets sessions share tokens that
// prove to have one key. The client's own provider has one key for all of them, whatever their credentials are, so that
// a build with any password for a registry could read what another build's token is for. Here every authServer has a
// key of its own.
type authServer struct {
	auth.AuthServer
	key *[64]byte
}

func newAuthServer(lookUp authprovider.AuthConfigProvider) *authServer {
	provider := authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: lookUp})
	// An error would be a want of random numbers, without which nothing of this process is safe.
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return &authServer{AuthServer: provider.(auth.AuthServer), key: (*[64]byte)(key)}
}

// Register implements session.Attachable.
func (a *authServer) Register(server *grpc.Server) { auth.RegisterAuthServer(server, a) }

// GetTokenAuthority implements auth.AuthServer.
func (a *authServer) GetTokenAuthority(
	context.Context, *auth.GetTokenAuthorityRequest,
) (*auth.GetTokenAuthorityResponse, error) {
	return &auth.GetTokenAuthorityResponse{PublicKey: a.key[ed25519.SeedSize:]}, nil
}

// VerifyTokenAuthority implements auth.AuthServer.
func (a *authServer) VerifyTokenAuthority(
	_ context.Context, req *auth.VerifyTokenAuthorityRequest,
) (*auth.VerifyTokenAuthorityResponse, error) {
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, a.key)}, nil
}
