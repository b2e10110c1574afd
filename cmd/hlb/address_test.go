// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// writeCerts writes an authority, and a certificate of it for the name buildkitd, which may be server and client.
func writeCerts(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "buildkitd"}, DNSNames: []string{"buildkitd"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	data, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
	for name, text := range map[string][]byte{
		"ca.pem": public, "cert.pem": public, "key.pem": pem.EncodeToMemory(&pem.Block{
			Type: "EC PRIVATE KEY", Bytes: private,
		}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serveTLS puts TLS with certificates of both sides before a unix socket, and returns the address.
func serveTLS(t *testing.T, dir, socket string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, from) }()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return "tcp://" + l.Addr().String()
}

func TestDaemonsThatSpeakTLS(t *testing.T) {
	daemon := buildkittest.Start(t, buildkittest.Options{})
	dir := t.TempDir()
	writeCerts(t, dir)
	addr := serveTLS(t, dir, daemon.Socket)
	inFiles(t, map[string]string{"build.hlb": "fs default() { mkfile \"/a\" 0o644 \"b\"; }\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, tc := range map[string]struct {
		flags  []string
		code   int
		stderr string
	}{
		"with a folder": {[]string{"--tlsdir", dir, "--tlsservername", "buildkitd"}, 0, ""},
		"with files": {[]string{
			"--tlscacert", in("ca.pem"), "--tlscert", in("cert.pem"), "--tlskey", in("key.pem"),
			"--tlsservername", "buildkitd",
		}, 0, ""},
		"another name":              {[]string{"--tlsdir", dir, "--tlsservername", "other"}, 1, "not other"},
		"a certificate and no key":  {[]string{"--tlscert", in("cert.pem")}, 2, "--tlscert and --tlskey"},
		"a file that doesn't exist": {[]string{"--tlscacert", in("gone.pem")}, 2, "gone.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"run", "--progress", "plain", "--addr", addr}, tc.flags...)
			code, _, stderr := hlbHere(t, args...)
			if code != tc.code || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, tc.code, tc.stderr, stderr)
			}
		})
	}
}
