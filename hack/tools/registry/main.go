// SPDX-License-Identifier: Apache-2.0

// Command registry is the distribution registry with what a test machine needs and no more: storage in a folder and
// password files. Leaving the cloud storage drivers out halves its size.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
