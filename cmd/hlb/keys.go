// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/diag"
)

func keysCommand(s *streams) *cobra.Command {
	var opts analyze.Options
	cmd := &cobra.Command{
		Use:   "keys FILE",
		Short: "List the cache mounts, images and exports that targets may reach",
		Long: "Print, as JSON, what each target may touch, from the source alone. What only the build can tell is null.\n" +
			"Without --target, every fs and pipeline without parameters is a target.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			texts := sources{}
			info, found, err := s.checkFile(cmd.Context(), files[0], texts, true)
			if err != nil {
				return err
			}
			var errs diag.List
			for _, d := range found {
				// A module that can't be read leaves the answer incomplete, not wrong.
				if d.Severity == diag.Error && d.Code != diag.ImportNotFound {
					errs = append(errs, d)
				}
			}
			if len(errs) > 0 {
				return s.report(errs, texts, false, true)
			}
			targets, errs := analyze.Module(info, opts)
			if len(errs) > 0 {
				return s.report(errs, texts, false, true)
			}
			enc := json.NewEncoder(s.out)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(targets)
		},
	}
	cmd.Flags().StringSliceVar(&opts.Targets, "target", nil, "the targets to analyze")
	cmd.Flags().StringToStringVar(&opts.Args, "arg", nil, "values for parameters of targets, as name=value")
	cmd.Flags().StringVar(&opts.CacheMountNamespace, "cache-mount-namespace", "", "prefix of the ids of cache mounts")
	return cmd
}
