// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// What a client of the registry with authentication presents.
const (
	registryUser     = "builder"
	registryPassword = "warm-caches"
)

// registries are the two image registries: an open one and one that asks for a password.
var registries = []struct {
	name, address string
	auth          bool
}{
	{name: "registry", address: hostIP + ":5000"},
	{name: "registry-auth", address: hostIP + ":5001", auth: true},
}

// StartRegistry starts the named registry ("registry" or "registry-auth") unless it runs, and waits until it answers.
func (c *Cluster) StartRegistry(ctx context.Context, name string) error {
	address, err := registryAddress(name)
	if err != nil {
		return err
	}
	return c.StartRegistryAt(ctx, name, address)
}

// StartRegistryAt is StartRegistry at another address than the registry's own, for a proxy in its place.
func (c *Cluster) StartRegistryAt(ctx context.Context, name, address string) error {
	if err := c.buildTools(ctx); err != nil {
		return err
	}
	if err := c.serveRegistry(name, address); err != nil {
		return err
	}
	return c.awaitRegistryAt(ctx, name, address)
}

// StopRegistry stops the named registry at once, as a failing one would; what it holds stays for the next start.
func (c *Cluster) StopRegistry(name string) error {
	if _, err := registryAddress(name); err != nil {
		return err
	}
	return c.kill(name, syscall.SIGKILL, 10*time.Second)
}

func registryAddress(name string) (string, error) {
	for _, r := range registries {
		if r.name == name {
			return r.address, nil
		}
	}
	return "", fmt.Errorf("no registry %q: there are %s and %s", name, registries[0].name, registries[1].name)
}

func (c *Cluster) startRegistry(name string) error {
	address, err := registryAddress(name)
	if err != nil {
		return err
	}
	return c.serveRegistry(name, address)
}

func (c *Cluster) serveRegistry(name, address string) error {
	if _, alive := c.find(name); alive {
		return nil
	}
	config := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "warn", "accesslog": map[string]any{"disabled": true}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": c.path(name)},
			"delete":     map[string]any{"enabled": true},
		},
		"http": map[string]any{"addr": address},
	}
	if name == registries[1].name {
		hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
		if err != nil {
			return err
		}
		if err := writeFile(c.path("htpasswd"), []byte(registryUser+":"+string(hash)+"\n")); err != nil {
			return err
		}
		config["auth"] = map[string]any{"htpasswd": map[string]any{"realm": "local", "path": c.path("htpasswd")}}
	}
	text, err := yamlText(config)
	if err != nil {
		return err
	}
	file := c.path(name + ".yaml")
	if err := writeFile(file, text); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(c.tools.registry, "registry"), "serve", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // by default it sends traces to a collector nobody runs
	_, err = c.spawnCmd(name, cmd)
	return err
}

func (c *Cluster) awaitRegistry(ctx context.Context, name string) error {
	address, err := registryAddress(name)
	if err != nil {
		return err
	}
	return c.awaitRegistryAt(ctx, name, address)
}

func (c *Cluster) awaitRegistryAt(ctx context.Context, name, address string) error {
	client := &http.Client{Timeout: 2 * time.Second}
	return poll(ctx, "wait for "+name, func() error {
		if _, alive := c.find(name); !alive {
			return fmt.Errorf("it has ended: %s", c.logTail(name))
		}
		response, err := client.Get("http://" + address + "/v2/")
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
}
