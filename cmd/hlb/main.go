// SPDX-License-Identifier: Apache-2.0

// Command hlb checks, formats, compiles and runs HLB programs.
//
// It exits with 0 if all went well, 1 if a program was refused or a build failed, and 2 for wrong usage or files that
// can't be read. If the command of a step failed, it exits with the exit code of that command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/solve"
)

func main() {
	debug.SetGCPercent(400) // a compile is short: collecting in the middle of one costs more than the memory it frees
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &streams{in: stdin, out: stdout, err: stderr, color: isTerminal(stderr)}
	root := &cobra.Command{
		Use:           "hlb",
		Short:         "Check, format, compile and run HLB programs",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(checkCommand(s), lintCommand(s), fmtCommand(s), compileCommand(s), keysCommand(s), runCommand(s),
		fromDockerfileCommand(s), moduleCommand(s), lspCommand(s), dapCommand(s), versionCommand(s))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRefused):
		return 1
	}
	fmt.Fprintf(stderr, "hlb: %v\n", err)
	return exitCode(err)
}

// exitCode is the exit code for an error that was not shown before.
func exitCode(err error) int {
	var failed *buildError
	var step *solve.StepError
	switch {
	case !errors.As(err, &failed):
		return 2
	case errors.As(err, &step) && step.ExitCode > 0:
		return step.ExitCode
	default:
		return 1
	}
}

// errRefused ends a command whose findings have been shown already.
var errRefused = errors.New("refused")

// buildError is a build that failed after it was started.
type buildError struct{ err error }

func (e *buildError) Error() string { return e.err.Error() }

func (e *buildError) Unwrap() error { return e.err }

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	color    bool
}

// isTerminal reports whether w shows colors: a character device, unless NO_COLOR is set.
func isTerminal(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isCharDevice(w)
}

// isCharDevice reports whether w is a terminal, whatever it shows.
func isCharDevice(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Name() != os.DevNull
}
