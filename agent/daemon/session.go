// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"maps"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/openllb/hlb-operator/agent/inputs"
	cacherepo "github.com/openllb/hlb-operator/agent/registry"
)

// attachables are what the daemon may ask of the agent during a job: registry credentials, which are returned by
// themselves too, secrets, ssh agents. All of it stays in memory.
func attachables(job *Job) ([]session.Attachable, *credentials, error) {
	in := job.Inputs
	creds, err := newCredentials(in, job.cacheRepository(), job.IsVisiting)
	if err != nil {
		return nil, nil, err
	}
	agents, err := newSSHAgents(in.SSHKeys)
	if err != nil {
		return nil, nil, err
	}
	secrets := maps.Clone(in.Secrets)
	if in.GitAuth != nil {
		secrets[sourceAuth] = authHeader(in.GitAuth)
	}
	return []session.Attachable{
		authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: creds.lookUp}),
		secretsprovider.FromMap(secrets),
		agents,
	}, creds, nil
}

func (j *Job) cacheRepository() string {
	if j.Registry == nil {
		return ""
	}
	return j.Registry.Repository
}

// credentials answer for registries. They are not changed once made.
type credentials struct {
	configs   []*configfile.ConfigFile // the build's, first match wins
	cache     *configfile.ConfigFile   // the BuildCache's, nil for none
	cacheHost string
	cachePath string // of the cache's repository on cacheHost
	onlyCache bool   // the BuildCache's are for its repository alone
}

func newCredentials(in *inputs.Inputs, repository string, onlyCache bool) (*credentials, error) {
	c := &credentials{onlyCache: onlyCache}
	c.cacheHost, c.cachePath, _ = strings.Cut(repository, "/")
	for _, data := range in.Registries {
		config, err := parseDockerConfig(data)
		if err != nil {
			return nil, err
		}
		c.configs = append(c.configs, config)
	}
	if in.CacheRegistry != nil {
		config, err := parseDockerConfig(in.CacheRegistry)
		if err != nil {
			return nil, err
		}
		c.cache = config
	}
	return c, nil
}

func parseDockerConfig(data []byte) (*configfile.ConfigFile, error) {
	config, err := cacherepo.ParseDockerConfig(data)
	if err != nil {
		return nil, &CredentialError{"A Secret of type kubernetes.io/dockerconfigjson does not hold a docker config"}
	}
	return config, nil
}

// lookUp implements authprovider.AuthConfigProvider. Where both the build and the BuildCache have credentials for a
// host, those of the BuildCache are for its repository and the build's for everything else. A build of another
// namespace never has the BuildCache's for anything else.
func (c *credentials) lookUp(
	_ context.Context,
	host string,
	scopes []string,
	_ authprovider.ExpireCachedAuthCheck,
) (types.AuthConfig, error) {
	host = cmp.Or(
		map[string]string{authprovider.DockerHubRegistryHost: authprovider.DockerHubConfigfileKey}[host],
		host,
	)
	order := c.configs
	if c.cache != nil && host == c.cacheHost {
		if c.isCache(scopes) {
			order = append([]*configfile.ConfigFile{c.cache}, order...)
		} else if !c.onlyCache {
			order = append(order[:len(order):len(order)], c.cache)
		}
	}
	for _, config := range order {
		found, err := config.GetAuthConfig(host)
		if err != nil {
			return types.AuthConfig{}, err
		}
		if found != (types.AuthConfig{}) && found != (types.AuthConfig{ServerAddress: found.ServerAddress}) {
			return found, nil
		}
	}
	return types.AuthConfig{}, nil
}

// isCache says whether scopes, such as "repository:team/cache:pull,push", are about the cache's repository.
func (c *credentials) isCache(scopes []string) bool {
	for _, s := range scopes {
		if strings.HasPrefix(s, "repository:"+c.cachePath+":") {
			return true
		}
	}
	return false
}
