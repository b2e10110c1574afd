// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"maps"
	"slices"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

// AuthFor returns the credentials that a docker configuration has for a registry's host, the zero value for none. Keys
// are hosts or URLs of them. Hosts are compared as cacheref.Host has them, so that the default registry goes by any of
// its names. Of several keys the host itself comes first, then the alphabet decides.
func AuthFor(config *configfile.ConfigFile, host string) types.AuthConfig {
	if found, exact := config.AuthConfigs[host]; exact && !isEmpty(found) {
		return found
	}
	for _, key := range slices.Sorted(maps.Keys(config.AuthConfigs)) {
		found := config.AuthConfigs[key]
		if cacheref.Host(credentials.ConvertToHostname(key)) == cacheref.Host(host) && !isEmpty(found) {
			return found
		}
	}
	return types.AuthConfig{}
}

// isEmpty reports whether an entry has no credentials.
func isEmpty(found types.AuthConfig) bool {
	return found == types.AuthConfig{ServerAddress: found.ServerAddress}
}
