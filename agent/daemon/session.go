// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/hlb/request"
)

// sessions make what the daemon may ask of the agent during the jobs of one build, for each kind of job what it is for:
//
//	source      the repository's credentials, nothing else
//	compile     the build's secrets, ssh agents and registry credentials
//	front end   the same, of the secrets and agents those that the program gives it
//	solve       as compile, and the BuildCache's credentials to pull build cache
//	export      as solve, and to push it
//
// All of it stays in memory.
type sessions struct {
	inputs *inputs.Inputs
	agents sshAgents
	// build are the build's own registry credentials.
	build *credentials
}

// newSessions parses the credentials of a job's inputs.
func newSessions(job *Job) (*sessions, error) {
	creds, err := newCredentials(job.Inputs, job.cacheRepository())
	if err != nil {
		return nil, err
	}
	agents, err := newSSHAgents(job.Inputs.SSHKeys)
	if err != nil {
		return nil, err
	}
	return &sessions{inputs: job.Inputs, agents: agents, build: creds}, nil
}

func (j *Job) cacheRepository() string {
	if j.Registry == nil {
		return ""
	}
	return j.Registry.Repository
}

// source is for the job that checks the build's source out, and no other: whatever else runs there could read them.
func (s *sessions) source() []session.Attachable {
	secrets := map[string][]byte{}
	if s.inputs.GitAuth != nil {
		secrets[sourceAuth] = authHeader(s.inputs.GitAuth)
	}
	return []session.Attachable{secretsprovider.FromMap(secrets)}
}

// compile is for what the compiler looks up and builds.
func (s *sessions) compile() []session.Attachable {
	return []session.Attachable{newAuthServer(s.build.lookUp), secretsprovider.FromMap(s.inputs.Secrets), s.agents}
}

// frontend is for a front end, with the secrets and agents that it is given.
func (s *sessions) frontend(given request.Needs) []session.Attachable {
	secrets, agents := map[string][]byte{}, sshAgents{}
	for _, needed := range given.Secrets {
		if value, declared := s.inputs.Secrets[needed.ID]; declared {
			secrets[needed.ID] = value
		}
	}
	for _, needed := range given.SSH {
		if keys, declared := s.agents[needed.ID]; declared {
			agents[needed.ID] = keys
		}
	}
	return []session.Attachable{newAuthServer(s.build.lookUp), secretsprovider.FromMap(secrets), agents}
}

// solve is for the program's steps. others are the hosts of the registries that the job is about, but for the import of
// the BuildCache's build cache.
func (s *sessions) solve(others []string) []session.Attachable {
	creds := s.build.pulling(others)
	return []session.Attachable{newAuthServer(creds.lookUp), secretsprovider.FromMap(s.inputs.Secrets), s.agents}
}

// export is for the export of build cache. The program's images have been read before, by the build's credentials.
func (s *sessions) export() []session.Attachable {
	creds := s.build.pushing()
	return []session.Attachable{newAuthServer(creds.lookUp), secretsprovider.FromMap(s.inputs.Secrets), s.agents}
}

// declares reports whether an id is that of a secret or agent of the build.
func (s *sessions) declares(id string) bool {
	_, secret := s.inputs.Secrets[id]
	_, agent := s.agents[id]
	return secret || agent
}
