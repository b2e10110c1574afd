// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

func checkCommand(s *streams) *cobra.Command {
	var asJSON, resolve bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Say whether programs are accepted",
		Long: "Parse and check programs. Deprecated forms are accepted; lint reports them.\n" +
			"With --resolve, modules are read too: files and directories, and what is vendored of images, other\n" +
			"filesystems and repositories. Other modules need a daemon and are not.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			texts := sources{}
			var found diag.List
			for _, file := range files {
				_, list, err := s.checkFile(cmd.Context(), file, texts, resolve)
				if err != nil {
					return err
				}
				found = append(found, list...)
			}
			found = slices.DeleteFunc(found, func(d *diag.Diagnostic) bool { return d.Severity != diag.Error })
			return s.report(found, texts, asJSON, len(found) > 0)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a JSON array on standard output")
	cmd.Flags().BoolVar(&resolve, "resolve", false, "read modules and check how they are used")
	return cmd
}

// checkFile checks one program. The info is nil if it doesn't parse; the error is about the file.
func (s *streams) checkFile(
	ctx context.Context,
	file string,
	texts sources,
	resolve bool,
) (*check.Info, diag.List, error) {
	name, src, err := s.read(file)
	if err != nil {
		return nil, nil, err
	}
	texts[name] = src
	info, found := lint.Program(name, src, syntax.Limits{})
	if !resolve || found.HasErrors() {
		return info, found, nil
	}
	vendor := vendored()
	opts := link.Options{Vendor: vendor, Remote: lower.RemoteRoots(vendor)}
	linked, errs := link.Files(ctx, info, dirOf(file), opts)
	for name, src := range linked.Sources {
		texts[name] = src
	}
	return info, append(found, errs...), nil
}

func lintCommand(s *streams) *cobra.Command {
	var asJSON bool
	var opts lint.Options
	cmd := &cobra.Command{
		Use:               "lint FILE...",
		Short:             "Report deprecated forms and unwise uses, besides errors",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			texts := sources{}
			var found diag.List
			for _, file := range files {
				info, list, err := s.checkFile(cmd.Context(), file, texts, false)
				if err != nil {
					return err
				}
				if !list.HasErrors() {
					list = append(list, lint.Advise(info, opts)...)
					list.Sort()
				}
				found = append(found, list...)
			}
			return s.report(found, texts, asJSON, len(found) > 0)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a JSON array on standard output")
	cmd.Flags().
		BoolVar(&opts.Portable, "portable", false,
			"report builtins that other implementations of the language don't have")
	return cmd
}
