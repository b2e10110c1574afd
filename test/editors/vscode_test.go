// SPDX-License-Identifier: Apache-2.0

package editors

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// TestVSCodeExtensionPackages: npm's tools make a package of the extension, which has all that it needs to run.
func TestVSCodeExtensionPackages(t *testing.T) {
	install(t, toolchain.Need{File: "node", Package: "nodejs"}, toolchain.Need{File: "npm", Package: "npm"})
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root(t), "editors", "vscode"))); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"node_modules", "hlb.vsix"} {
		if err := os.RemoveAll(filepath.Join(dir, left)); err != nil {
			t.Fatal(err)
		}
	}
	// Scripts of packages would fetch more from elsewhere; packaging needs none of it.
	output(t, dir, nil, "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	output(t, dir, nil, "npm", "run", "package", "--", "--out", "hlb.vsix")
	vsix, err := zip.OpenReader(filepath.Join(dir, "hlb.vsix"))
	if err != nil {
		t.Fatal(err)
	}
	defer vsix.Close()
	for _, name := range []string{
		"extension.vsixmanifest", "extension/package.json", "extension/extension.js",
		"extension/language-configuration.json", "extension/syntaxes/hlb.tmLanguage.json",
		"extension/node_modules/vscode-languageclient/node.js",
	} {
		if _, err := vsix.Open(name); err != nil {
			t.Errorf("the package lacks %s: %v", name, err)
		}
	}
	if _, err := vsix.Open("extension/node_modules/@vscode/vsce/package.json"); err == nil {
		t.Error("the package has the tools that made it")
	}
}
