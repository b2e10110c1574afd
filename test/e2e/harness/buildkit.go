// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	bkclient "github.com/moby/buildkit/client"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Pod names the pod of a BuildDaemon, as its StatefulSet does.
func Pod(daemon string) string { return daemon + "-0" }

// Claim names the volume claim of a BuildDaemon.
func Claim(daemon string) string { return "cache-" + Pod(daemon) }

// BuildKit is a plain client of a BuildDaemon's buildkitd. Daemons have no network listener, so it goes through an exec
// of buildctl, which hands the socket's bytes through.
func (c *Cluster) BuildKit(ctx context.Context, namespace, daemon string) (*bkclient.Client, error) {
	pod := Pod(daemon)
	clientset, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return nil, err
	}
	url := clientset.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: "buildkitd", Stdin: true, Stdout: true,
			Command: []string{"buildctl", "--addr", "unix:///run/buildkit/buildkitd.sock", "dial-stdio"},
		}, scheme.ParameterCodec).URL()
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		executor, err := remotecommand.NewSPDYExecutor(c.Config, "POST", url)
		if err != nil {
			return nil, fmt.Errorf("exec in %s: %w", pod, err)
		}
		in, toPod := io.Pipe()
		fromPod, out := io.Pipe()
		streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			err := executor.StreamWithContext(streamCtx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
			in.CloseWithError(io.ErrClosedPipe)
			out.CloseWithError(fmt.Errorf("exec in %s ended: %w", pod, orEOF(err)))
		}()
		return &pipeConn{Reader: fromPod, Writer: toPod, close: func() { cancel(); toPod.Close(); fromPod.Close() }},
			nil
	}
	return bkclient.New(ctx, "unix:///run/buildkit/buildkitd.sock", bkclient.WithContextDialer(dial))
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// pipeConn makes a connection of two pipes; deadlines do nothing, as with every exec.
type pipeConn struct {
	io.Reader
	io.Writer
	close func()
}

func (p *pipeConn) Close() error                     { p.close(); return nil }
func (p *pipeConn) LocalAddr() net.Addr              { return pipeAddr{} }
func (p *pipeConn) RemoteAddr() net.Addr             { return pipeAddr{} }
func (p *pipeConn) SetDeadline(time.Time) error      { return nil }
func (p *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (p *pipeConn) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "exec" }
func (pipeAddr) String() string  { return "exec" }
