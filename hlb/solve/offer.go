// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/openllb/hlb-operator/hlb/request"
)

// offer is what a compiling session serves of a user's own machine. A session is opened before the program is read,
// so what it offers grows as the program names it; the daemon gets nothing that the program did not name. It is safe
// for concurrent use.
type offer struct {
	mu      sync.Mutex
	dirs    map[string]fsutil.FS
	secrets map[string]string // paths by id
}

// attachables returns what serves the offer: directories, secrets, and this user's ssh agent, if one runs, for git.
func (o *offer) attachables() ([]session.Attachable, error) {
	out := []session.Attachable{filesync.NewFSSyncProvider(o), secretsprovider.NewSecretProvider(o)}
	if sock := os.Getenv("SSH_AUTH_SOCK"); sock != "" {
		if _, err := os.Stat(sock); err == nil {
			agent, err := sshprovider.NewSSHAgentProvider([]sshprovider.AgentConfig{{ID: "default"}})
			if err != nil {
				return nil, err
			}
			out = append(out, agent)
		}
	}
	return out, nil
}

// Need implements lower.NeedsSolver.
func (o *offer) Need(needs request.Needs) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dirs == nil {
		o.dirs, o.secrets = map[string]fsutil.FS{}, map[string]string{}
	}
	for _, l := range needs.Locals {
		dir, err := fsutil.NewFS(l.Dir)
		if err == nil {
			dir, err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{Map: ownedByRoot})
		}
		if err != nil {
			return fmt.Errorf("local %s: %w", l.Dir, err)
		}
		o.dirs[l.Name] = dir
	}
	for _, s := range needs.Secrets {
		if s.Path != "" {
			o.secrets[s.ID] = s.Path
		}
	}
	return nil
}

// ownedByRoot gives uploaded files to root, as the client does with those of a solve.
func ownedByRoot(_ string, st *fstypes.Stat) fsutil.MapResult {
	st.Uid, st.Gid = 0, 0
	return fsutil.MapResultKeep
}

// LookupDir implements filesync.DirSource.
func (o *offer) LookupDir(name string) (fsutil.FS, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir, ok := o.dirs[name]
	return dir, ok
}

// GetSecret implements secrets.SecretStore.
func (o *offer) GetSecret(_ context.Context, id string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path, ok := o.secrets[id]
	if !ok {
		return nil, secrets.ErrNotFound
	}
	return os.ReadFile(path)
}
