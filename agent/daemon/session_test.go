// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/openllb/hlb-operator/agent/inputs"
)

func dockerConfig(host, user string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":pw"))
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}},"credsStore":"evil","credHelpers":{%q:"evil"}}`, host, auth,
		host)
}

func TestCredentialsAreChosenByHostAndRepository(t *testing.T) {
	creds, err := newCredentials(&inputs.Inputs{
		Registries: [][]byte{
			dockerConfig("a.example.com", "first"), dockerConfig("a.example.com", "second"),
			dockerConfig("b.example.com", "b"), dockerConfig("https://index.docker.io/v1/", "hub"),
		},
		CacheRegistry: dockerConfig("a.example.com", "cache"),
	}, "a.example.com/team/cache", false)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		host   string
		scopes []string
		want   string
	}{
		"the build's first match wins": {"a.example.com", []string{"repository:app:pull,push"}, "first"},
		"the cache's repository has its own": {
			"a.example.com", []string{"repository:team/cache:pull,push"}, "cache",
		},
		"a repository with a like name is another": {
			"a.example.com", []string{"repository:team/cache2:pull"}, "first",
		},
		"without a scope the build's come first":      {"a.example.com", nil, "first"},
		"another host":                                {"b.example.com", nil, "b"},
		"docker hub goes by its old name":             {"registry-1.docker.io", nil, "hub"},
		"a host that nobody has credentials for":      {"c.example.com", nil, ""},
		"the cache's are not for other hosts' scopes": {"b.example.com", []string{"repository:team/cache:pull"}, "b"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := creds.lookUp(t.Context(), tc.host, tc.scopes, nil)
			if err != nil || got.Username != tc.want {
				t.Errorf("got user %q (%v), want %q", got.Username, err, tc.want)
			}
		})
	}
}

func TestABuildOfAnotherNamespaceHasTheCachesCredentialsForTheCacheAlone(t *testing.T) {
	for isVisiting, want := range map[bool]string{false: "cache", true: ""} {
		creds, err := newCredentials(&inputs.Inputs{CacheRegistry: dockerConfig("a.example.com", "cache")},
			"a.example.com/team/cache", isVisiting)
		if err != nil {
			t.Fatal(err)
		}
		for scope, want := range map[string]string{"repository:team/cache:pull": "cache", "repository:app:push": want} {
			got, err := creds.lookUp(t.Context(), "a.example.com", []string{scope}, nil)
			if err != nil || got.Username != want {
				t.Errorf("visiting %v: got user %q (%v) for %s, want %q", isVisiting, got.Username, err, scope, want)
			}
		}
	}
}

// TestFrontEndsThatAreNotAllowedAreRefused asks no daemon: there is none.
func TestFrontEndsThatAreNotAllowedAreRefused(t *testing.T) {
	s := &solver{frontends: []string{"docker.io/docker/dockerfile"}}
	_, err := s.Solve(t.Context(), gateway.SolveRequest{
		Frontend: "gateway.v0", FrontendOpt: map[string]string{"source": "docker.io/evil/frontend:1"},
	})
	if err == nil || !strings.Contains(err.Error(), "spec.allowedFrontends") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestBadSecretsAreNotQuoted(t *testing.T) {
	const secret = "hunter2"
	_, configErr := newCredentials(&inputs.Inputs{Registries: [][]byte{[]byte(`{"auths": ` + secret)}}, "", false)
	_, keyErr := newSSHAgents(map[string][]byte{"default": []byte(secret)})
	for _, err := range []error{configErr, keyErr} {
		var bad *CredentialError
		if !errors.As(err, &bad) || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v, want a CredentialError without the content", err)
		}
	}
}

func newKey(t *testing.T, passphrase string) ([]byte, ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), public
}

func TestSSHKeysSignAndCantBeChanged(t *testing.T) {
	key, public := newKey(t, "")
	agents, err := newSSHAgents(map[string][]byte{"default": key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agents.find("other"); err == nil {
		t.Error("an id that the build does not declare is served")
	}
	keys, err := agents.find("")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() { _ = agent.ServeAgent(keys, ours) }() // ends with the pipe
	step := agent.NewClient(theirs)
	list, err := step.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("keys %v, %v", list, err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := step.Sign(sshPublic, []byte("data"))
	if err != nil || sshPublic.Verify([]byte("data"), signature) != nil {
		t.Errorf("the signature is no good: %v", err)
	}
	if step.RemoveAll() == nil || step.Remove(sshPublic) == nil || step.Lock([]byte("x")) == nil {
		t.Error("a build step may change the keys")
	}
}

func TestAKeyWithAPassphraseIsExplained(t *testing.T) {
	key, _ := newKey(t, "pass")
	_, err := newSSHAgents(map[string][]byte{"deploy": key})
	if err == nil || !strings.Contains(err.Error(), `"deploy" is protected by a passphrase`) {
		t.Errorf("got %v", err)
	}
}
