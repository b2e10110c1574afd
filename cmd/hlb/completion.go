// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// progressModes are the ways to show progress.
var progressModes = []progressui.DisplayMode{
	progressui.AutoMode, progressui.PlainMode, progressui.TtyMode, progressui.RawJSONMode, progressui.QuietMode,
}

// completePrograms completes the names of HLB files.
func completePrograms(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"hlb"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeTargets completes the names of what a program can build, of the default one if no file is given yet. Names
// of a list are completed behind its last comma.
func (s *streams) completeTargets(
	_ *cobra.Command, args []string, written string,
) ([]string, cobra.ShellCompDirective) {
	file := defaultProgram
	if len(args) > 0 {
		file = args[0]
	}
	name, src, err := s.read(file)
	if err != nil || file == standardInput {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	info, _ := lint.Program(name, src, syntax.Limits{})
	if info == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before := written[:strings.LastIndexByte(written, ',')+1]
	targets := info.Targets()
	slices.Sort(targets)
	for i := range targets {
		targets[i] = before + targets[i]
	}
	return targets, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag completes the value of a flag; a flag that doesn't exist is a mistake of this program.
func completeFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err)
	}
}
