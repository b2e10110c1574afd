// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"net"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// attack is a build that wants what it may not have.
type attack struct {
	name    string
	program string
	want    end
	// change gives the build more than a program; nil for nothing.
	change func(*world, *v1alpha1.HLBBuild)
	// after looks at what the attack has left, while the neighbour still builds; nil for nothing.
	after func(*testing.T, *world, *v1alpha1.HLBBuild)
	// short: it is part of the short form, which make test runs.
	short bool
}

// end is how an attack has to end: with one of the reasons, which have the codes of diagnostics behind them.
type end struct {
	outcome string
	reasons []string
}

func refusedWith(reasons ...string) end { return end{refused, reasons} }
func boundedBy(reasons ...string) end   { return end{bounded, reasons} }

// checksItself is the end of a step that fails if it got anything.
var checksItself = end{harmless, []string{""}}

func compileFailed(code string) string { return v1alpha1.ReasonCompileFailed + " " + code }

// tooLong is the API server's word for a program that is too long for it.
const tooLong = string(metav1.StatusReasonInvalid)

// step is a program with one step.
func step(command string, options ...string) string {
	return fmt.Sprintf("fs default() {\n\timage \"IMAGE\"\n\trun %q with option {\n\t\tignoreCache\n\t\t%s\n\t}\n}\n",
		command, strings.Join(options, "\n\t\t"))
}

func mount(id string) string { return fmt.Sprintf(`cacheMount "/m" with option { id %q; }`, id) }

// attacks are all attacks, in the order in which they are run.
func attacks() []attack {
	out := slicesOf(onTheCompiler(), onResources(), onNeighbours(), onTheDaemon())
	names := map[string]bool{}
	for _, a := range out {
		if names[a.name] {
			panic("two attacks are called " + a.name)
		}
		names[a.name] = true
	}
	return out
}

func slicesOf(lists ...[]attack) (out []attack) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// onTheCompiler want the agent's memory and time.
func onTheCompiler() (out []attack) {
	for i, h := range hlbtest.HostilePrograms() {
		out = append(out, attack{name: "compile: " + h.Name, program: h.Source, short: i < 3,
			want: refusedWith(compileFailed(h.Code), v1alpha1.ReasonCompileLimitExceeded, tooLong)})
	}
	return out
}

// onResources want more of the daemon than their share.
func onResources() []attack {
	return []attack{
		{name: "memory: a step takes all", program: step("dd if=/dev/zero of=/dev/null bs=1500M count=9"), short: true,
			want: boundedBy(v1alpha1.ReasonOutOfMemory)},
		{name: "memory: many processes of a step take all",
			program: step("for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=400M count=99 & done; wait; exit 1"),
			// the shell lives on and fails by itself where only the others were killed
			want: boundedBy(v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonSolveFailed)},
		{name: "processes: a step starts thousands", want: boundedBy(v1alpha1.ReasonDeadlineExceeded,
			v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonSolveFailed),
			program: step("i=0; while [ $i -lt 9000 ]; do sleep 99 & i=$((i+1)); done; wait; exit 1")},
		{name: "memory: a file system in memory is filled", program: step("dd if=/dev/zero of=/dev/shm/x bs=1M"),
			want: boundedBy(v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonSolveFailed)},
		{name: "processors: a step keeps all busy", want: boundedBy(v1alpha1.ReasonDeadlineExceeded),
			program: step("for i in 1 2 3 4 5 6; do yes > /dev/null & done; wait")},
		{name: "output: without end", program: step("yes"), want: boundedBy(v1alpha1.ReasonDeadlineExceeded)},
		{name: "output: one line without end", program: step("tr '\\0' x < /dev/zero"),
			want: boundedBy(v1alpha1.ReasonDeadlineExceeded)},
		{name: "output: what terminals obey", program: step("printf '\\033]0;owned\\007\\000\\033[2J'; exit 7"),
			short: true, want: refusedWith(v1alpha1.ReasonSolveFailed), after: hasNoControls},
		{name: "time: a step never ends", program: step("trap '' TERM INT; while true; do sleep 1; done"),
			want: boundedBy(v1alpha1.ReasonDeadlineExceeded)},
		{name: "files: a mount of very many", want: boundedBy(v1alpha1.ReasonDeadlineExceeded, ""),
			program: step("i=0; while [ $i -lt 20000 ]; do mkdir -p /m/$((i%100)); : > /m/$((i%100))/$i; i=$((i+1)); done",
				mount("many"))},
		{name: "files: a mount of a terabyte of holes", want: checksItself,
			program: step("dd if=/dev/zero of=/m/holes bs=1 count=1 seek=1000000000000", mount("holes"))},
	}
}

// hasNoControls checks that nothing of a step's text that terminals obey has reached the status.
func hasNoControls(t *testing.T, _ *world, b *v1alpha1.HLBBuild) {
	t.Helper()
	if f := b.Status.Failure; f != nil && strings.ContainsAny(f.LogTail+f.Message, "\x1b\x07\x00") {
		t.Errorf("control characters are in the status: %q %q", f.Message, f.LogTail)
	}
}

// onNeighbours want what is others'. The neighbour's mount is "shared" of another namespace, and has the file log.
func onNeighbours() (out []attack) {
	for _, id := range []string{"shared", namespace + "/shared", "../" + namespace + "/shared", "/" + namespace +
		"/shared", attackers + "/../" + namespace + "/shared"} {
		out = append(out, attack{name: "mount: " + id, short: id == namespace+"/shared",
			want:    end{harmless, []string{"", compileFailed("BAD-OPTION")}},
			program: step("test ! -e /m/log && touch /m/taken", mount(id))})
	}
	return append(out,
		attack{name: "cache: an output overwrites a tag", program: step("true"), short: true,
			want: refusedWith(v1alpha1.ReasonNotPermitted), change: pushTo("")},
		attack{name: "cache: an output overwrites a tag by another name of the host", program: step("true"),
			want: refusedWith(v1alpha1.ReasonNotPermitted, v1alpha1.ReasonExportFailed), change: pushTo("upper")},
		attack{name: "cache: a program overwrites a tag", short: true,
			program: "fs default() {\n\timage \"IMAGE\"\n\tdockerPush \"CACHE:mount-x\"\n}\n",
			want:    refusedWith(compileFailed("NOT-ALLOWED"), v1alpha1.ReasonNotPermitted)},
		attack{name: "cache: a program reads a tag", program: "fs default() {\n\timage \"CACHE:mount-x\"\n}\n",
			want: refusedWith(compileFailed("NOT-ALLOWED"))},
		attack{name: "secret: one that is not for builds", program: step("true", `secret "token" "/token"`),
			want: refusedWith(v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonSecretNotAllowed),
			change: func(_ *world, b *v1alpha1.HLBBuild) {
				b.Spec.ActiveDeadlineSeconds = ptr.To[int32](10)
				b.Spec.Secrets = []v1alpha1.BuildSecret{{ID: "token",
					SecretKeyRef: v1alpha1.SecretKeyReference{Name: "not-for-builds", Key: "token"}}}
			}},
	)
}

// pushTo has the build push to a tag of the registry cache.
func pushTo(spelling string) func(*world, *v1alpha1.HLBBuild) {
	return func(w *world, b *v1alpha1.HLBBuild) {
		image := w.fleet.Spec.Registry.Repository + ":mount-x"
		if spelling == "upper" {
			host, path, _ := strings.Cut(image, "/")
			address, port, _ := net.SplitHostPort(host)
			image = "[::ffff:" + address + "]:" + port + "/" + path
		}
		b.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: image}}
	}
}

// onTheDaemon want the daemon itself, its node, or what only it may reach.
func onTheDaemon() []attack {
	return []attack{
		{name: "privileges: security.insecure", program: step("true", `security "insecure"`), short: true,
			want: refusedWith(compileFailed("NOT-DECLARED"), v1alpha1.ReasonNotPermitted)},
		{name: "privileges: the node's network", program: step("true", `network "host"`),
			want: refusedWith(compileFailed("NOT-DECLARED"), v1alpha1.ReasonNotPermitted)},
		{name: "privileges: a front end that is not allowed", program: "fs default() {\n\tfrontend \"IMAGE\"\n}\n",
			want: refusedWith(compileFailed("NOT-ALLOWED"), v1alpha1.ReasonNotPermitted)},
		{name: "files: of the agent", program: "fs default() {\n\tlocal \"/var/run/secrets\"\n}\n",
			want: refusedWith(compileFailed("NOT-HERE"))},
		{name: "files: a repository of the daemon's disk",
			program: "fs default() {\n\tgit \"file:///var/lib/buildkit\" \"main\"\n}\n",
			want:    refusedWith(v1alpha1.ReasonSolveFailed)},
		{name: "files: accounts and sockets in a step", short: true, want: checksItself, program: step(
			"! ls /var/run/secrets /run/secrets /run/buildkit /var/lib/buildkit /var/lib/hlb-agent 2>/dev/null")},
		{name: "kernel: devices and mounts in a step", want: checksItself, program: step(
			"! mount -t tmpfs none /mnt 2>/dev/null && ! mknod /sda b 8 0 2>/dev/null && ! ls /dev/sda 2>/dev/null && " +
				"! sh -c 'echo x > /proc/sys/kernel/hostname' 2>/dev/null")},
		{name: "network: what listens in the daemon's pod", short: true, want: checksItself, program: step(
			"! printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | nc -w 3 PODIP 8081 | grep HTTP")},
		{name: "network: what listens on its loopback", want: checksItself, program: step(
			"! printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | nc -w 3 127.0.0.1 8081 | grep HTTP")},
		{name: "registry: a layer without end", want: boundedBy(v1alpha1.ReasonDeadlineExceeded),
			program: "fs default() {\n\timage \"HOSTILE/endless:1\"\n\trun \"true\"\n}\n"},
		{name: "registry: no answer", want: boundedBy(v1alpha1.ReasonDeadlineExceeded),
			program: "fs default() {\n\timage \"HOSTILE/silent:1\"\n\trun \"true\"\n}\n"},
	}
}
