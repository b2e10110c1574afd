// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-cmp/cmp"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"golang.org/x/crypto/nacl/sign"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
)

func dockerConfig(host, user string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":pw"))
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}},"credsStore":"evil","credHelpers":{%q:"evil"}}`, host, auth,
		host)
}

func TestCredentialsAreForExactlyWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	build, err := newCredentials(&inputs.Inputs{
		Registries: [][]byte{
			dockerConfig("a.example.com", "first"), dockerConfig("a.example.com", "second"),
			dockerConfig("b.example.com", "b"), dockerConfig("https://index.docker.io/v1/", "hub"),
		},
		CacheRegistry: dockerConfig("a.example.com", "cache"),
	}, "A.example.com:443/team/cache")
	if err != nil {
		t.Fatal(err)
	}
	// what each kind of job gets
	type users struct{ Compile, Alone, Beside, Export string }
	cases := map[string]struct {
		host   string
		scopes []string
		want   users
	}{
		"the build's first match wins": {
			"a.example.com", []string{"repository:app:pull,push"}, users{"first", "first", "first", "first"},
		},
		"the cache's repository is read by the jobs that import": {
			"a.example.com", []string{"repository:team/cache:pull"}, users{"first", "cache", "cache", "cache"},
		},
		"and written by the one that exports": {
			"a.example.com", []string{"repository:team/cache:pull,push"}, users{"first", "first", "first", "cache"},
		},
		"nobody deletes there": {
			"a.example.com", []string{"repository:team/cache:delete,pull"}, users{"first", "first", "first", "first"},
		},
		"a token for more than it is the build's": {
			"a.example.com", []string{"repository:app:pull", "repository:team/cache:pull"},
			users{"first", "first", "first", "first"},
		},
		"a repository with a like name is another": {
			"a.example.com", []string{"repository:team/cache2:pull"}, users{"first", "first", "first", "first"},
		},
		"without tokens, where nothing else is asked of the host": {
			"a.example.com", nil, users{"first", "cache", "first", "cache"},
		},
		"another host": {"b.example.com", nil, users{"b", "b", "b", "b"}},
		"the default registry goes by its old name": {
			"registry-1.docker.io", nil, users{"hub", "hub", "hub", "hub"},
		},
		"a host that nobody has credentials for": {"c.example.com", nil, users{}},
		"the cache's are not for other hosts": {
			"b.example.com", []string{"repository:team/cache:pull"}, users{"b", "b", "b", "b"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			user := func(c *credentials) string {
				got, err := c.lookUp(t.Context(), tc.host, tc.scopes, nil)
				if err != nil {
					t.Error(err)
				}
				return got.Username
			}
			got := users{user(build), user(build.pulling([]string{"docker.io"})),
				user(build.pulling([]string{"a.example.com"})), user(build.pushing())}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheDefaultRegistryMayHoldTheCache(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"} {
		for _, repository := range []string{"docker.io/team/cache", "index.docker.io/team/cache"} {
			c, err := newCredentials(&inputs.Inputs{CacheRegistry: dockerConfig(key, "robot")}, repository)
			if err != nil {
				t.Fatal(err)
			}
			scopes := []string{"repository:team/cache:push"}
			got, err := c.pushing().lookUp(t.Context(), "registry-1.docker.io", scopes, nil)
			if err != nil || got.Username != "robot" {
				t.Errorf("%s of a Secret with %s: got user %q (%v)", repository, key, got.Username, err)
			}
		}
	}
}

// TestSessionsShareNoTokens: BuildKit gives a session the tokens of another one that proves to have its key.
func TestSessionsShareNoTokens(t *testing.T) {
	t.Parallel()
	lookUp := func(context.Context, string, []string, authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		return types.AuthConfig{Username: "me", Password: "pw"}, nil
	}
	mine, theirs := newAuthServer(lookUp), newAuthServer(lookUp)
	key, err := mine.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: "a.example.com"})
	if err != nil || len(key.PublicKey) != 32 {
		t.Fatalf("got %v, %v", key, err)
	}
	for server, want := range map[*authServer]bool{mine: true, theirs: false} {
		signed, err := server.VerifyTokenAuthority(t.Context(),
			&auth.VerifyTokenAuthorityRequest{Host: "a.example.com", Payload: []byte("payload")})
		if err != nil {
			t.Fatal(err)
		}
		if _, got := sign.Open(nil, signed.Signed, (*[32]byte)(key.PublicKey)); got != want {
			t.Errorf("the session has the key: %v, want %v", got, want)
		}
	}
}

// TestFrontEndsThatAreNotAllowedAreRefused asks no daemon: there is none.
func TestFrontEndsThatAreNotAllowedAreRefused(t *testing.T) {
	t.Parallel()
	const allowed = "docker.io/docker/dockerfile:1"
	policy := buildpolicy.New(&v1alpha1.BuildCacheSpec{AllowedFrontends: []string{"docker.io/docker/dockerfile"}}, "ns")
	cases := map[string]struct {
		frontend string
		opts     map[string]string
		want     string
	}{
		"another image":  {"gateway.v0", map[string]string{"source": "docker.io/evil/frontend:1"}, "allowedFrontends"},
		"no image":       {"gateway.v0", nil, "no image"},
		"BuildKit's own": {"dockerfile.v0", map[string]string{"source": allowed}, "no image"},
		"a context in its place": {"gateway.v0", map[string]string{
			"source": allowed, "context:docker/dockerfile:1": "docker-image://docker.io/evil/frontend:1",
		}, "in place of the front end"},
		"a context of a platform": {"gateway.v0", map[string]string{
			"source": allowed, "context:docker/dockerfile:1::linux/amd64": "input:evil",
		}, "in place of the front end"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &solver{build: &building{job: &Job{Namespace: "ns", Policy: policy}}}
			_, err := s.Solve(t.Context(), gateway.SolveRequest{Frontend: tc.frontend, FrontendOpt: tc.opts})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

func TestBadSecretsAreNotQuoted(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	_, configErr := newCredentials(&inputs.Inputs{Registries: [][]byte{[]byte(`{"auths": ` + secret)}}, "")
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
	t.Parallel()
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
	t.Parallel()
	key, _ := newKey(t, "pass")
	_, err := newSSHAgents(map[string][]byte{"deploy": key})
	if err == nil || !strings.Contains(err.Error(), `"deploy" is protected by a passphrase`) {
		t.Errorf("got %v", err)
	}
}
