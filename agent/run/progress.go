// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/go-logr/logr"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"

	"github.com/openllb/hlb-operator/agent/buildlog"
)

// progressLog writes a build's progress into its log file, as plain text. The methods are called one at a time.
type progressLog struct {
	file *buildlog.File
	log  logr.Logger
	in   chan *bkclient.SolveStatus // nil without a file
	done chan struct{}
}

// newProgressLog begins a log in file, which it closes at its end; nil for no log.
func newProgressLog(file *buildlog.File, log logr.Logger) *progressLog {
	p := &progressLog{file: file, log: log}
	if file != nil {
		p.in, p.done = make(chan *bkclient.SolveStatus, 64), make(chan struct{})
		go p.write()
	}
	return p
}

func (p *progressLog) write() {
	defer close(p.done)
	defer func() {
		if r := recover(); r != nil {
			p.log.Error(fmt.Errorf("progress: %v", r), "Panicked", "stack", string(debug.Stack()))
			for range p.in { // the build goes on without a log
			}
		}
	}()
	display, err := progressui.NewDisplay(p.file, progressui.PlainMode)
	if err == nil {
		_, err = display.UpdateFrom(context.Background(), p.in)
	}
	if err != nil {
		p.log.Error(err, "Failed to write the build's progress")
	}
	for range p.in { // whoever sends must never wait for a reader that gave up
	}
}

func (p *progressLog) see(s *bkclient.SolveStatus) {
	if p.in != nil {
		p.in <- s
	}
}

// end adds how the build ended and closes the log. see must not be called after it.
func (p *progressLog) end(err error) {
	if p.file == nil {
		return
	}
	close(p.in)
	<-p.done
	text := "the build is done"
	if err != nil {
		text = "the build failed: " + err.Error()
	}
	fmt.Fprintln(p.file, text)
	if err := p.file.Close(); err != nil {
		p.log.Error(err, "The build's log is incomplete")
	}
}
