// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/moby/buildkit/session/sshforward"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// sshAgents serve private keys held in memory over the ssh agent protocol, by id. BuildKit's own provider reads keys
// from files only.
type sshAgents map[string]agent.Agent

func newSSHAgents(keys map[string][]byte) (sshAgents, error) {
	agents := sshAgents{}
	for id, pem := range keys {
		key, err := ssh.ParseRawPrivateKey(pem)
		if err != nil {
			var locked *ssh.PassphraseMissingError
			if errors.As(err, &locked) {
				return nil, &CredentialError{
					fmt.Sprintf("The ssh key %q is protected by a passphrase; store it without one", id),
				}
			}
			return nil, &CredentialError{fmt.Sprintf("The Secret of ssh key %q does not hold a private key", id)}
		}
		ring := agent.NewKeyring()
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, &CredentialError{fmt.Sprintf("The ssh key %q is of a kind that can't be used", id)}
		}
		agents[id] = signOnly{ring}
	}
	return agents, nil
}

// Register implements session.Attachable.
func (a sshAgents) Register(server *grpc.Server) { sshforward.RegisterSSHServer(server, a) }

// CheckAgent says whether an id is served.
func (a sshAgents) CheckAgent(
	_ context.Context,
	req *sshforward.CheckAgentRequest,
) (*sshforward.CheckAgentResponse, error) {
	_, err := a.find(req.ID)
	return &sshforward.CheckAgentResponse{}, err
}

// ForwardAgent serves one connection of a build step to its agent.
func (a sshAgents) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	id := ""
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok && len(md[sshforward.KeySSHID]) > 0 {
		id = md[sshforward.KeySSHID][0]
	}
	keys, err := a.find(id)
	if err != nil {
		return err
	}
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		_ = agent.ServeAgent(keys, ours) // it ends with the step's connection, whatever the step did with it
	}()
	return sshforward.Copy(stream.Context(), theirs, stream, nil)
}

func (a sshAgents) find(id string) (agent.Agent, error) {
	if id == "" {
		id = sshforward.DefaultID
	}
	keys, there := a[id]
	if !there {
		return nil, status.Errorf(codes.NotFound, "the build declares no ssh key %q", id)
	}
	return keys, nil
}

// signOnly is an agent whose keys a build step can use, but not change.
type signOnly struct {
	agent.Agent
}

var errReadOnly = errors.New("the keys of this agent can't be changed")

func (signOnly) Add(agent.AddedKey) error   { return errReadOnly }
func (signOnly) Remove(ssh.PublicKey) error { return errReadOnly }
func (signOnly) RemoveAll() error           { return errReadOnly }
func (signOnly) Lock([]byte) error          { return errReadOnly }
func (signOnly) Unlock([]byte) error        { return errReadOnly }
