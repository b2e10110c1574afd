// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/format"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

func fmtCommand(s *streams) *cobra.Command {
	var list, write bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE...]",
		Short: "Format programs",
		Long: "Print programs in the standard style. Without files, standard input is formatted.\n" +
			"With -l alone, the exit code is 1 if any file isn't formatted.",
		ValidArgsFunction: completePrograms,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{"-"}
			}
			texts := sources{}
			var errs diag.List
			differs := false
			for _, file := range files {
				name, src, err := s.read(file)
				if err != nil {
					return err
				}
				texts[name] = src
				out, found := format.Source(name, src, syntax.Limits{})
				if len(found) > 0 {
					errs = append(errs, found...)
					continue
				}
				changed := !bytes.Equal(src, out)
				differs = differs || changed
				if err := s.formatted(file, out, changed, list, write); err != nil {
					return err
				}
			}
			return s.report(errs, texts, false, len(errs) > 0 || differs && list && !write)
		},
	}
	cmd.Flags().BoolVarP(&list, "list", "l", false, "print the names of files that aren't formatted, not their text")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the result to the file, not to standard output")
	return cmd
}

// formatted does with the formatted text of a file what the flags ask for.
func (s *streams) formatted(file string, out []byte, changed, list, write bool) error {
	if list && changed {
		fmt.Fprintln(s.out, file)
	}
	switch {
	case write && file == "-":
		return errors.New("standard input can't be written to, leave out -w")
	case write && changed:
		return replaceFile(file, out)
	case !list && !write:
		_, err := s.out.Write(out)
		return err
	}
	return nil
}

// replaceFile puts new text into a file at once, so that an interrupted write loses nothing.
func replaceFile(file string, text []byte) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	temp := file + ".hlbfmt"
	if err := os.WriteFile(temp, text, st.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
