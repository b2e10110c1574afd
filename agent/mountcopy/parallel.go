// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// each calls do for the numbers below n, several at a time, and returns the first error. After one, or once ctx is
// done, no more are begun.
func each(ctx context.Context, n int, do func(i int, buf []byte) error) error {
	var next atomic.Int64
	var failed error
	var once sync.Once
	var stop atomic.Bool
	var workers sync.WaitGroup
	for range min(n, 2*runtime.GOMAXPROCS(0)) { // half of them wait for the disk
		workers.Go(func() {
			buf := make([]byte, 1<<18)
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = do(i, buf)
				}
				if err != nil {
					once.Do(func() { failed = err })
					stop.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return failed
}

// inOrder calls do for the numbers below n, several at a time, and use with what it returned, one at a time and in
// order. It returns the first error.
func inOrder[T any](
	ctx context.Context,
	n int,
	do func(i int, buf []byte) (T, error),
	use func(i int, done T) error,
) error {
	type answer struct {
		done T
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := 2 * runtime.GOMAXPROCS(0) // half of them wait for the disk
	answers := make([]chan answer, 2*workers)
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	// no more are done ahead than there is room for answers
	tasks, ahead := make(chan int), make(chan struct{}, len(answers))
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { feed(ctx, n, tasks, ahead) })
	for range workers {
		all.Go(func() {
			buf := make([]byte, 1<<18)
			for i := range tasks {
				var a answer
				if a.err = ctx.Err(); a.err == nil {
					a.done, a.err = do(i, buf)
				}
				answers[i%len(answers)] <- a
			}
		})
	}
	for i := range n {
		var a answer
		select {
		case a = <-answers[i%len(answers)]:
		case <-ctx.Done():
			return ctx.Err()
		}
		<-ahead
		if a.err == nil {
			a.err = use(i, a.done)
		}
		if a.err != nil {
			return a.err
		}
	}
	return nil
}

// feed sends the numbers up to n, each once there is room for its answer, and closes tasks.
func feed(ctx context.Context, n int, tasks chan<- int, ahead chan<- struct{}) {
	defer close(tasks)
	for i := range n {
		select {
		case ahead <- struct{}{}:
		case <-ctx.Done():
			return
		}
		tasks <- i
	}
}

// writers write small files, several at a time.
type writers struct {
	tasks  chan task
	all    sync.WaitGroup
	failed chan struct{} // closed after err is set
	once   sync.Once
	err    error
}

// task is a file that was made and is open, and what is to be written to it.
type task struct {
	e    *entry
	text []byte
	fd   int
}

// newWriters starts them; wait must follow. write closes the task's file, also when it fails.
func newWriters(ctx context.Context, write func(task) error) *writers {
	w := &writers{tasks: make(chan task), failed: make(chan struct{})}
	for range 2 * runtime.GOMAXPROCS(0) { // half of them wait for the disk
		w.all.Go(func() {
			for t := range w.tasks {
				err := ctx.Err()
				if err == nil {
					err = write(t)
				} else {
					unix.Close(t.fd) // and thrown away with the rest
				}
				if err != nil {
					w.once.Do(func() { w.err = err; close(w.failed) })
				}
			}
		})
	}
	return w
}

// add has a file written. After a failure, it may return it, with the file closed.
func (w *writers) add(t task) error {
	select {
	case <-w.failed:
		return errors.Join(w.err, unix.Close(t.fd))
	case w.tasks <- t:
		return nil
	}
}

// wait returns when all is written, or the first error.
func (w *writers) wait() error {
	close(w.tasks)
	w.all.Wait()
	return w.err
}
