// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/compile/child"
	"github.com/openllb/hlb-operator/hlb"
)

// images answers look-ups at once, so that the figures are of the processes.
type images struct{}

func (images) ResolveImageConfig(
	_ context.Context, ref string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	return ref, digest.FromString(ref), []byte("{}"), nil
}

// processes compile as an agent would, in this process, in one that waits for a program, and in one that has to start.
func processes() []pass {
	command, limits := []string{"/proc/self/exe", child.Command}, compile.DefaultLimits()
	waiting := compile.New(command, limits)
	inChild := func(c *compile.Compiler, src []byte) error {
		program := &compile.Program{Kind: compile.KindHLB, Filename: "bench.hlb", Source: src}
		_, found, err := c.Compile(context.Background(), program, &compile.Services{
			Resolver: images{}, Sharing: func(string) (string, bool) { return "", false },
		})
		if err != nil {
			return err
		}
		return found.Err()
	}
	return []pass{
		{"compile in this process", func(src []byte) error {
			_, found := hlb.Compile(context.Background(), hlb.Program{Filename: "bench.hlb", Source: src},
				hlb.Options{Profile: hlb.ProfileServer, Resolver: images{}})
			return found.Err()
		}},
		{"compile in a child that waits", func(src []byte) error { return inChild(waiting, src) }},
		{"compile in a child that starts", func(src []byte) error {
			c := compile.New(command, limits)
			defer c.Close()
			return inChild(c, src)
		}},
	}
}
