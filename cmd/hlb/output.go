// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/openllb/hlb-operator/hlb/solve"
)

// standardOutput is the destination that stands for the standard output of this command.
const standardOutput = "-"

// parseOutput reads the value of --output: comma-separated attributes of one of BuildKit's exporters, or only a
// destination, which is a directory, or a tarball on standard output.
func parseOutput(text string) (solve.Output, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return solve.Output{}, err
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		if fields[0] == standardOutput {
			return solve.Output{Type: client.ExporterTar, Dest: standardOutput}, nil
		}
		return solve.Output{Type: client.ExporterLocal, Dest: fields[0]}, nil
	}
	out := solve.Output{Attrs: map[string]string{}}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return out, fmt.Errorf("%q is no attribute, write name=value", field)
		}
		switch key = strings.ToLower(strings.TrimSpace(key)); key {
		case "type":
			out.Type = value
		case "dest":
			out.Dest = value
		case "target":
			out.Target = value
		case "name":
			out.Image = value
		default:
			out.Attrs[key] = value
		}
	}
	return out, checkOutput(out)
}

// checkOutput reports what an exporter lacks or can't do.
func checkOutput(o solve.Output) error {
	switch o.Type {
	case "":
		return errors.New("the attribute type is missing: local, tar, oci, docker or image")
	case client.ExporterLocal:
		if o.Dest == "" || o.Dest == standardOutput {
			return errors.New("type=local needs a directory as dest")
		}
	case client.ExporterTar, client.ExporterOCI:
		if o.Dest == "" {
			return fmt.Errorf("type=%s needs a file as dest, or - for standard output", o.Type)
		}
	case client.ExporterDocker:
		if o.Dest == "" && o.Image == "" {
			return errors.New("type=docker needs the name of the image to load, or a file as dest")
		}
	case client.ExporterImage:
		if o.Image == "" || o.Dest != "" {
			return errors.New("type=image needs a name, and has no dest")
		}
	default:
		return fmt.Errorf("there is no type %q: it is local, tar, oci, docker or image", o.Type)
	}
	return nil
}

// pushOutput is what --push stands for.
func pushOutput(image string) solve.Output {
	return solve.Output{Type: client.ExporterImage, Image: image, Attrs: map[string]string{"push": "true"}}
}

// bindOutputs returns outputs with a target each: the only one of the build, unless they say which.
func bindOutputs(outputs []solve.Output, targets []string) ([]solve.Output, error) {
	if len(targets) == 0 {
		targets = []string{"default"}
	}
	bound := slices.Clone(outputs)
	atStdout := 0
	for i := range bound {
		o := &bound[i]
		switch {
		case o.Target == "" && len(targets) > 1:
			return nil, fmt.Errorf("there are %d targets: say of which the output is, with target=NAME", len(targets))
		case o.Target == "":
			o.Target = targets[0]
		case !slices.Contains(targets, o.Target):
			return nil, fmt.Errorf("the output is of target %q, which is not built: it is one of %s", o.Target,
				strings.Join(targets, ", "))
		}
		if o.Dest == standardOutput {
			atStdout++
		}
	}
	if atStdout > 1 {
		return nil, errors.New("only one output can go to standard output")
	}
	return bound, nil
}

// toStdout reports whether one of outputs goes to standard output.
func toStdout(outputs []solve.Output) bool {
	return slices.ContainsFunc(outputs, func(o solve.Output) bool { return o.Dest == standardOutput })
}
