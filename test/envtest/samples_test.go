// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// TestSamples applies every sample, checks that the server knows each of its fields, and that programs in it are
// accepted by the compiler.
func TestSamples(t *testing.T) {
	cluster := envtestkit.Get(t)
	dir := filepath.Join(cluster.Root, "config", "samples")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 7 {
		t.Fatalf("found %d samples: %v", len(files), err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	strict := client.WithFieldValidation(cluster.Client, "Strict")
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(readme, []byte("`"+name+"`")) || !bytes.Contains(list, []byte("- "+name+"\n")) {
				t.Error("README.md or kustomization.yaml does not list it")
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(text, []byte("# ")) {
				t.Error("it does not begin with a comment that says what it shows")
			}
			ns := cluster.Namespace(t)
			for _, o := range decodeAll(t, text) {
				o.SetNamespace(ns)
				if err := strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o),
					client.FieldOwner("sample")); err != nil {
					t.Errorf("apply %s %s: %v", o.GetKind(), o.GetName(), err)
				}
				checkPrograms(t, o)
			}
		})
	}
}

func decodeAll(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		chunk, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(chunk, &o.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
}

func checkPrograms(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	programs := map[string]string{}
	if text, ok, _ := unstructured.NestedString(o.Object, "spec", "inline"); ok {
		programs["inline"] = text
	}
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	for key, text := range data {
		if strings.HasSuffix(key, ".hlb") {
			programs[key] = text
		}
	}
	for name, text := range programs {
		if _, findings := lint.Program(name, []byte(text), syntax.Limits{}); len(findings) > 0 {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), findings)
		}
	}
}
