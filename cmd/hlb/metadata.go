// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/solve"
)

// metadata is the content of --metadata-file.
type metadata struct {
	Outputs []outputJSON      `json:"outputs"` // what left the daemon: the program's own, then those of flags
	Steps   stepsJSON         `json:"steps"`
	Caches  []cacheExportJSON `json:"cacheExports"`
}

type outputJSON struct {
	Target string        `json:"target,omitempty"` // of outputs that flags ask for
	Ref    string        `json:"ref"`              // image or path
	Digest digest.Digest `json:"digest,omitempty"` // of images
}

type stepsJSON struct {
	Total  int `json:"total"`
	Cached int `json:"cached"`
}

type cacheExportJSON struct {
	Type     string            `json:"type"`
	Attrs    map[string]string `json:"attrs,omitempty"`
	Manifest digest.Digest     `json:"manifest,omitempty"`
	Error    string            `json:"error,omitempty"`
}

func newMetadata(res *solve.Result) metadata {
	m := metadata{
		Outputs: []outputJSON{}, Caches: []cacheExportJSON{},
		Steps: stepsJSON{Total: res.Steps.Total, Cached: res.Steps.Cached},
	}
	for _, o := range res.Outputs {
		m.Outputs = append(m.Outputs, outputJSON{Target: o.Target, Ref: o.Ref, Digest: o.Digest})
	}
	for _, c := range res.Cache {
		out := cacheExportJSON{Type: c.Entry.Type, Attrs: c.Entry.Attrs, Manifest: c.Manifest}
		if c.Err != nil {
			out.Error = c.Err.Error()
		}
		m.Caches = append(m.Caches, out)
	}
	return m
}

// writeMetadata writes what a build did to a file.
func writeMetadata(file string, res *solve.Result) error {
	data, err := json.MarshalIndent(newMetadata(res), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
