// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife is longer than any cluster here lives.
const certificateLife = 365 * 24 * time.Hour

// authority signs the cluster's certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// subject is the identity in a certificate: CN and O are the user and group the API server sees.
type subject struct {
	name, user, group string
	hosts             []string // DNS names and addresses; set for servers only
}

// makePKI makes the CA, the certificates and the kubeconfigs, once in the life of a cluster.
func (c *Cluster) makePKI() error {
	done := c.path("pki", "complete")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	ca, err := c.makeAuthority()
	if err != nil {
		return fmt.Errorf("make the CA: %w", err)
	}
	subjects := []subject{
		{name: "apiserver", user: "kube-apiserver", hosts: []string{"localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "127.0.0.1", serviceIP, hostIP}},
		{name: "kubelet-client", user: "apiserver-kubelet-client", group: "system:masters"},
		{name: "front-proxy", user: "front-proxy-client"},
		{name: "admin", user: "admin", group: "system:masters"},
		{name: "controller-manager", user: "system:kube-controller-manager"},
		{name: "scheduler", user: "system:kube-scheduler"},
		{name: "proxy", user: "system:kube-proxy"},
		{name: "storage", user: "local-storage", group: "system:masters"},
	}
	for i, n := range Nodes {
		subjects = append(
			subjects,
			subject{name: "node-" + n, user: "system:node:" + n, group: "system:nodes"},
			subject{
				name:  "serving-" + n,
				user:  "system:node:" + n,
				group: "system:nodes",
				hosts: []string{n, nodeIP(i)},
			},
		)
	}
	for _, s := range subjects {
		if err := c.issue(ca, s); err != nil {
			return fmt.Errorf("make the certificate of %s: %w", s.name, err)
		}
	}
	if err := c.makeTokenKey(); err != nil {
		return fmt.Errorf("make the key of service account tokens: %w", err)
	}
	return writeFile(done, nil)
}

func (c *Cluster) makeAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "hlb-local-cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{cert, key}, c.savePair("ca", der, key)
}

// issue makes NAME.crt and NAME.key, and NAME.kubeconfig for a client.
func (c *Cluster) issue(ca authority, s subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: s.user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if s.group != "" {
		template.Subject.Organization = []string{s.group}
	}
	if len(s.hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range s.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	if err := c.savePair(s.name, der, key); err != nil || len(s.hosts) > 0 {
		return err
	}
	return c.writeKubeconfig(s.name)
}

// writeKubeconfig writes a kubeconfig with everything inside, so that a copy works anywhere on the machine.
func (c *Cluster) writeKubeconfig(name string) error {
	var data [3][]byte
	for i, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		text, err := os.ReadFile(c.path("pki", file))
		if err != nil {
			return err
		}
		data[i] = text
	}
	text, err := yamlText(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "hlb-local",
		"clusters": []any{map[string]any{"name": "hlb-local", "cluster": map[string]any{
			"server": apiURL, "certificate-authority-data": data[0]}}},
		"users": []any{map[string]any{"name": name, "user": map[string]any{
			"client-certificate-data": data[1], "client-key-data": data[2]}}},
		"contexts": []any{
			map[string]any{"name": "hlb-local", "context": map[string]any{"cluster": "hlb-local", "user": name}},
		},
	})
	if err != nil {
		return err
	}
	if name == "admin" {
		return writeFile(c.Kubeconfig(), text)
	}
	return writeFile(c.path("pki", name+".kubeconfig"), text)
}

// makeTokenKey makes the pair that signs service account tokens.
func (c *Cluster) makeTokenKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := c.savePEM("tokens.pub", "PUBLIC KEY", public); err != nil {
		return err
	}
	return c.saveKey("tokens.key", key)
}

func (c *Cluster) savePair(name string, der []byte, key *ecdsa.PrivateKey) error {
	if err := c.savePEM(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return c.saveKey(name+".key", key)
}

func (c *Cluster) saveKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return c.savePEM(file, "EC PRIVATE KEY", der)
}

func (c *Cluster) savePEM(file, kind string, der []byte) error {
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	return writeFile(c.path("pki", file), text.Bytes())
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	return new(big.Int).SetBytes(b[:])
}
