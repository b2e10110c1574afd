// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Need is a file, a program on PATH or an absolute path, and the Debian package that brings it.
type Need struct{ File, Package string }

// needs is what the cluster, the images or their builds use.
var needs = []Need{
	{"iptables", "iptables"},
	{"nft", "nftables"},
	{"conntrack", "conntrack"},
	{"ethtool", "ethtool"},
	{"socat", "socat"},
	{"ip", "iproute2"},
	{"mount", "mount"},
	{"losetup", "mount"},
	{"mkfs.xfs", "xfsprogs"},
	{"gcc", "gcc"},
	{"pkg-config", "pkg-config"},
	{"/usr/include/seccomp.h", "libseccomp-dev"},
	{"/usr/include/stdlib.h", "libc6-dev"},
	{"busybox", "busybox-static"},
	{"zstd", "zstd"},
	{"git", "git"},
	{"ssh", "openssh-client"},
	{"/etc/ssl/certs/ca-certificates.crt", "ca-certificates"},
}

// systemPath is searched beside PATH: administrators' programs are often left out of it.
var systemPath = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// InstallPackages makes sure that the machine has the Debian packages this repository's local cluster, images and tests
// need. It installs missing packages as root; otherwise its error names them in one line.
func InstallPackages(ctx context.Context) error { return Install(ctx, needs...) }

// Install makes sure that the machine has what some need, as InstallPackages does for the needs of all.
func Install(ctx context.Context, needs ...Need) error {
	missing := missingPackages(needs)
	if len(missing) == 0 {
		return nil
	}
	hint := "apt-get install --no-install-recommends " + strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("programs are missing, install them first: %s", hint)
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	if aptGet(ctx, install...) == nil {
		return nil
	}
	if err := aptGet(ctx, "update"); err != nil { // the package lists may be absent or too old
		return err
	}
	return aptGet(ctx, install...)
}

func aptGet(ctx context.Context, args ...string) error {
	args = append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...) // tests of several packages may install at once
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

// missingPackages lists the packages to install, each once, in the order of needs.
func missingPackages(needs []Need) []string {
	var missing []string
	for _, n := range needs {
		if !present(n.File) && !slices.Contains(missing, n.Package) {
			missing = append(missing, n.Package)
		}
	}
	return missing
}

func present(file string) bool {
	if _, err := exec.LookPath(file); err == nil {
		return true
	}
	if filepath.IsAbs(file) {
		_, err := os.Stat(file)
		return err == nil
	}
	for _, dir := range systemPath {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return true
		}
	}
	return false
}
