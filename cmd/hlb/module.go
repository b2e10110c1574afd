// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/registry"
	"github.com/openllb/hlb-operator/hlb/solve"
)

func moduleCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "module",
		Short: "Keep the modules of filesystems and repositories beside a program",
		Long: "Modules that a program imports from images, other filesystems and git repositories are read\n" +
			"from " + module.VendorDir + " below the working directory where that exists, so that the program\n" +
			"compiles without a network. Their checksums are in " + module.VendorDir + "/" + module.LockFile + ".",
	}
	cmd.AddCommand(vendorCommand(s), tidyCommand(s), treeCommand(s))
	return cmd
}

// moduleFlags are the flags of commands that read all modules of programs.
type moduleFlags struct {
	daemon  daemonFlags
	offline bool
}

func (f *moduleFlags) add(cmd *cobra.Command) {
	f.daemon.add(cmd)
	cmd.Flags().BoolVar(&f.offline, "offline", false, "don't contact a daemon: vendored modules only")
}

func vendorCommand(s *streams) *cobra.Command {
	var flags moduleFlags
	cmd := &cobra.Command{
		Use:   "vendor FILE...",
		Short: "Fetch the modules of programs and keep them",
		Long: "Fetch every module that the programs make use of, also those that are vendored, as they are\n" +
			"now. Vendored modules of other programs stay.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			imports, err := s.imports(cmd.Context(), files, flags, nil)
			if err != nil {
				return err
			}
			return s.vendor(imports, false)
		},
	}
	flags.daemon.add(cmd)
	return cmd
}

func tidyCommand(s *streams) *cobra.Command {
	var flags moduleFlags
	cmd := &cobra.Command{
		Use:   "tidy FILE...",
		Short: "Fetch missing modules and remove those that no program uses",
		Long: "Fetch the modules of the programs that are not vendored, and remove vendored ones that none of\n" +
			"the programs uses.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			imports, err := s.imports(cmd.Context(), files, flags, &module.Vendor{Dir: vendorDir(), Partial: true})
			if err != nil {
				return err
			}
			return s.vendor(imports, true)
		},
	}
	flags.add(cmd)
	return cmd
}

func treeCommand(s *streams) *cobra.Command {
	var flags moduleFlags
	cmd := &cobra.Command{
		Use:   "tree FILE...",
		Short: "Show what programs import",
		Long: "Show the modules that each program imports, with what those import. A module that was shown\n" +
			"before is marked with (*). Behind the modules of filesystems and repositories stands the directory\n" +
			"that they have when vendored.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			for _, file := range files {
				imports, err := s.imports(cmd.Context(), []string{file}, flags, vendored())
				if err != nil {
					return err
				}
				fmt.Fprintln(s.out, file)
				writeTree(s.out, imports, "")
			}
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

// imports reads the modules of programs and returns what all of them import. Nothing is read from a vendor that is nil.
func (s *streams) imports(
	ctx context.Context, files []string, flags moduleFlags, vendor *module.Vendor,
) ([]*lower.Import, error) {
	var all []*lower.Import
	for _, file := range files {
		prog, err := s.program(file)
		if err != nil {
			return nil, err
		}
		imports, found, err := importsOf(ctx, prog, flags, hlb.Options{Vendor: vendor})
		if err != nil {
			return nil, fmt.Errorf("read modules with the daemon at %s: %w", flags.daemon.addr, err)
		}
		if found.HasErrors() {
			return nil, s.compiled(prog, nil, found)
		}
		all = append(all, imports...)
	}
	return all, nil
}

// importsOf reads the modules of a program, with the daemon only if that takes one. The error is about the daemon.
func importsOf(
	ctx context.Context, prog hlb.Program, flags moduleFlags, opts hlb.Options,
) ([]*lower.Import, diag.List, error) {
	imports, found := lower.Imports(ctx, prog, opts)
	needsDaemon := slices.ContainsFunc(found, func(d *diag.Diagnostic) bool { return d.Code == lower.NeedsDaemon })
	if flags.offline || !needsDaemon {
		return imports, found, nil
	}
	c, err := flags.daemon.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	opts.Registry = registry.User{}
	return solve.Imports(ctx, c, prog, opts, solve.Options{Session: sessions()})
}

// vendorDir is where this command keeps modules.
func vendorDir() module.Dir {
	return module.Dir{Root: module.Machine{HomeDir: os.UserHomeDir}, Path: module.VendorDir}
}

// vendored is the vendored modules of the working directory, nil if it has none.
func vendored() *module.Vendor {
	if _, err := os.Stat(module.VendorDir); err != nil {
		return nil
	}
	return &module.Vendor{Dir: vendorDir(), Strict: true}
}

// vendor writes the modules of imports, and removes others if only is set.
func (s *streams) vendor(imports []*lower.Import, only bool) error {
	keep := map[string][]byte{}
	collect(imports, keep)
	changes, err := module.WriteVendor(module.VendorDir, keep, only)
	if err != nil {
		return err
	}
	for _, name := range changes.Written {
		fmt.Fprintf(s.out, "+ %s\n", name)
	}
	for _, name := range changes.Removed {
		fmt.Fprintf(s.out, "- %s\n", name)
	}
	return nil
}

// collect adds the files of imports to files, by their paths in the vendor directory.
func collect(imports []*lower.Import, files map[string][]byte) {
	for _, i := range imports {
		for name, text := range i.Files {
			files[module.VendorPath(i.Remote)+"/"+name] = text
		}
		collect(i.Imports, files)
	}
}

// writeTree draws the tree of imports.
func writeTree(w io.Writer, imports []*lower.Import, prefix string) {
	for n, i := range imports {
		branch, below := "├── ", "│   "
		if n == len(imports)-1 {
			branch, below = "└── ", "    "
		}
		mark := ""
		if i.Remote != "" {
			mark = " " + module.VendorPath(i.Remote)
		}
		if i.Again {
			mark += " (*)"
		}
		fmt.Fprintf(w, "%s%s%s: %s%s\n", prefix, branch, i.Name, i.File, mark)
		writeTree(w, i.Imports, prefix+below)
	}
}
