// SPDX-License-Identifier: Apache-2.0

package registry

import "testing"

// FuzzDockerConfig: whatever a Secret holds, it is an error or credentials for hosts, and it never names a program to
// run.
func FuzzDockerConfig(f *testing.F) {
	for _, seed := range []string{
		`{"auths":{"r.example.com":{"auth":"dTpw"}},"credsStore":"evil","credHelpers":{"r.example.com":"evil"}}`,
		`{"auths":{"r.example.com":{"username":"u","password":"p","identitytoken":"t"}}}`,
		`{"auths":{"r.example.com":{"auth":"bm8gY29sb24="}}}`, `{"auths":{"r.example.com":null}}`,
		`{"auths":null}`, `{"r.example.com":{"auth":"dTpw"}}`, `[]`, `null`, ``, `{`, "\x00",
	} {
		f.Add([]byte(seed), "r.example.com")
	}
	f.Fuzz(func(t *testing.T, data []byte, host string) {
		config, err := ParseDockerConfig(data)
		if err != nil {
			return
		}
		if config.CredentialsStore != "" || len(config.CredentialHelpers) > 0 {
			t.Errorf("credentials come from programs: %q, %v", config.CredentialsStore, config.CredentialHelpers)
		}
		if found, err := config.GetAuthConfig(host); err == nil {
			Authenticator(found)
		}
	})
}
