// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// sources are the texts of the files read, by the name that spans carry.
type sources map[string][]byte

// text implements diag.Renderer.Source.
func (s sources) text(file string) []byte {
	if file == diag.BuiltinFile {
		return builtin.Source()
	}
	return s[file]
}

// addFiles adds the files that findings are in and that weren't kept, because nothing came of the compile. Names that
// aren't files of this machine are passed over; their findings are shown without the line.
func (s sources) addFiles(found diag.List) {
	for _, d := range found {
		for _, span := range append([]diag.Span{d.Primary}, secondary(d)...) {
			if _, known := s[span.File]; known || span.File == diag.BuiltinFile {
				continue
			}
			if src, err := os.ReadFile(span.File); err == nil {
				s[span.File] = src
			}
		}
	}
}

func secondary(d *diag.Diagnostic) []diag.Span {
	spans := make([]diag.Span, len(d.Secondary))
	for i, l := range d.Secondary {
		spans[i] = l.Span
	}
	return spans
}

// standardInput is the name of a file that stands for standard input.
const standardInput = "-"

// read returns the text of a file and the name for its spans.
func (s *streams) read(file string) (name string, src []byte, err error) {
	if file != standardInput {
		src, err = os.ReadFile(file)
		return file, src, err
	}
	src, err = io.ReadAll(s.in)
	return diag.StdinFile, src, err
}

// dirOf returns the directory that the imports of a file start from. Standard input is taken to be in the working
// directory.
func dirOf(file string) module.Dir {
	dir := "."
	if file != standardInput {
		dir = filepath.Dir(file)
	}
	return module.Dir{Root: module.Machine{HomeDir: os.UserHomeDir}, Path: dir}
}

// report shows findings: to people on standard error, to tools on standard output. It returns errRefused if there are
// any that refuse.
func (s *streams) report(found diag.List, texts sources, asJSON bool, refuses bool) error {
	if asJSON {
		if err := diag.WriteJSON(s.out, found); err != nil {
			return err
		}
	} else {
		r := diag.Renderer{Source: texts.text, Color: s.color}
		if err := r.Render(s.err, found); err != nil {
			return err
		}
	}
	if refuses {
		return errRefused
	}
	return nil
}
