// SPDX-License-Identifier: Apache-2.0

// Package inputs reads from the cluster what a build names: its program and files, its secrets and credentials.
// They live in memory only, for one attempt.
package inputs

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
)

// Inputs are what one build names. They hold secrets: never log them.
type Inputs struct {
	// Filename is how the program is called in messages; Program is its text, nil when it comes from git.
	Filename string
	Program  []byte
	// Files are those of a ConfigMap source, by name; nil for other sources.
	Files map[string][]byte
	// GitAuth is for the repository of a git source, nil for none.
	GitAuth *BasicAuth
	// Secrets are the build's secrets by id, SSHKeys private keys in PEM by id.
	Secrets, SSHKeys map[string][]byte
	// Registries are docker configs for pulling and pushing, first match wins. CacheRegistry is that for the registry
	// cache, nil for none.
	Registries    [][]byte
	CacheRegistry []byte
}

// BasicAuth is a user with a password or token.
type BasicAuth struct {
	Username, Password string
}

// Error is about something that a build names and that does not exist yet: an object, or a key of it.
type Error struct {
	// Reason why the build waits: SecretNotFound, SecretNotAllowed or SourceNotFound.
	Reason  string
	Message string
}

func (e *Error) Error() string { return e.Message }

// Gather reads everything that a build names in its namespace, as far as the BuildCache's policy of Secrets allows, and
// the credentials of its BuildCache's registry in that one's. The error is an *Error when the user must help, else the
// API's.
func Gather(
	ctx context.Context,
	c client.Reader,
	build *v1alpha1.HLBBuild,
	cache *v1alpha1.BuildCache,
) (*Inputs, error) {
	spec := &build.Spec
	allowed, err := allowedSecrets(cache.Spec.SecretPolicy)
	if err != nil {
		return nil, err
	}
	g := &gatherer{
		client:     c,
		namespace:  build.Namespace,
		allowed:    allowed,
		secrets:    map[string]*corev1.Secret{},
		configMaps: map[string]*corev1.ConfigMap{},
	}
	in := &Inputs{Filename: buildkey.Program(spec.HLB), Secrets: map[string][]byte{}, SSHKeys: map[string][]byte{}}
	reads := []func(context.Context, *v1alpha1.HLBBuildSpec, *Inputs) error{
		g.source, g.buildSecrets, g.sshKeys, g.registries,
	}
	for _, read := range reads {
		if err := read(ctx, spec, in); err != nil {
			return nil, err
		}
	}
	config, err := DockerConfig(ctx, c, cache.Namespace, cache.Spec.Registry)
	if err != nil {
		return nil, err
	}
	in.CacheRegistry = config
	return in, nil
}

// allowedSecrets selects the Secrets that builds may name, by their labels. A policy that can't be read allows none.
func allowedSecrets(policy *v1alpha1.SecretPolicy) (labels.Selector, error) {
	if policy == nil || policy.From != v1alpha1.SecretsFromSelector {
		return labels.Everything(), nil
	}
	allowed, err := metav1.LabelSelectorAsSelector(policy.Selector)
	if err != nil {
		return nil, &Error{v1alpha1.ReasonSecretNotAllowed, "secretPolicy.selector of the BuildCache: " + err.Error()}
	}
	return allowed, nil
}

// DockerConfig reads the credentials of a registry cache, nil when there are none. Errors are as those of Gather.
func DockerConfig(
	ctx context.Context,
	c client.Reader,
	namespace string,
	registry *v1alpha1.RegistryCacheSpec,
) ([]byte, error) {
	if registry == nil || registry.SecretRef == nil {
		return nil, nil
	}
	g := &gatherer{
		client: c, namespace: namespace, allowed: labels.Everything(), secrets: map[string]*corev1.Secret{},
	}
	return g.dockerConfig(ctx, registry.SecretRef.Name)
}

// gatherer reads each object once.
type gatherer struct {
	client     client.Reader
	namespace  string
	allowed    labels.Selector // of Secrets
	secrets    map[string]*corev1.Secret
	configMaps map[string]*corev1.ConfigMap
}

func (g *gatherer) source(ctx context.Context, spec *v1alpha1.HLBBuildSpec, in *Inputs) (err error) {
	if spec.HLB.Inline != nil {
		in.Program = []byte(*spec.HLB.Inline)
	}
	switch source := spec.Source; {
	case source == nil:
		return nil
	case source.Git != nil:
		in.GitAuth, err = g.basicAuth(ctx, source.Git.SecretRef)
		return err
	}
	name := spec.Source.ConfigMap.Name
	if in.Files, err = g.files(ctx, name); err != nil || in.Program != nil {
		return err
	}
	program, there := in.Files[in.Filename]
	if !there {
		return &Error{
			v1alpha1.ReasonSourceNotFound,
			fmt.Sprintf("ConfigMap %q has no key %q, which should hold the program", name, in.Filename),
		}
	}
	in.Program = program
	return nil
}

func (g *gatherer) buildSecrets(ctx context.Context, spec *v1alpha1.HLBBuildSpec, in *Inputs) error {
	for _, s := range spec.Secrets {
		value, err := g.secretKey(ctx, s.SecretKeyRef.Name, s.SecretKeyRef.Key)
		if err != nil {
			return err
		}
		in.Secrets[s.ID] = value
	}
	return nil
}

func (g *gatherer) sshKeys(ctx context.Context, spec *v1alpha1.HLBBuildSpec, in *Inputs) error {
	for _, s := range spec.SSH {
		value, err := g.secretKey(ctx, s.SecretRef.Name, corev1.SSHAuthPrivateKey)
		if err != nil {
			return err
		}
		in.SSHKeys[s.ID] = value
	}
	return nil
}

func (g *gatherer) registries(ctx context.Context, spec *v1alpha1.HLBBuildSpec, in *Inputs) error {
	for _, s := range spec.RegistrySecretRefs {
		config, err := g.dockerConfig(ctx, s.Name)
		if err != nil {
			return err
		}
		in.Registries = append(in.Registries, config)
	}
	return nil
}

func (g *gatherer) dockerConfig(ctx context.Context, name string) ([]byte, error) {
	return g.secretKey(ctx, name, corev1.DockerConfigJsonKey)
}

func (g *gatherer) basicAuth(ctx context.Context, ref *v1alpha1.LocalObjectReference) (*BasicAuth, error) {
	if ref == nil {
		return nil, nil
	}
	password, err := g.secretKey(ctx, ref.Name, corev1.BasicAuthPasswordKey)
	if err != nil {
		return nil, err
	}
	username := g.secrets[ref.Name].Data[corev1.BasicAuthUsernameKey]
	return &BasicAuth{Username: string(username), Password: string(password)}, nil
}

func (g *gatherer) secretKey(ctx context.Context, name, key string) ([]byte, error) {
	secret := g.secrets[name]
	if secret == nil {
		secret = &corev1.Secret{}
		if err := g.client.Get(ctx, types.NamespacedName{Namespace: g.namespace, Name: name}, secret); err != nil {
			if apierrors.IsNotFound(err) {
				return nil, &Error{
					v1alpha1.ReasonSecretNotFound,
					fmt.Sprintf("There is no Secret %q in namespace %q", name, g.namespace),
				}
			}
			return nil, fmt.Errorf("read Secret %s: %w", name, err)
		}
		if !g.allowed.Matches(labels.Set(secret.Labels)) {
			return nil, &Error{
				v1alpha1.ReasonSecretNotAllowed,
				fmt.Sprintf("The BuildCache lets builds use Secrets with labels %s, and Secret %q has not",
					g.allowed, name),
			}
		}
		g.secrets[name] = secret
	}
	value, there := secret.Data[key]
	if !there {
		return nil, &Error{v1alpha1.ReasonSecretNotFound, fmt.Sprintf("Secret %q has no key %q", name, key)}
	}
	return value, nil
}

// files returns all keys of a ConfigMap.
func (g *gatherer) files(ctx context.Context, name string) (map[string][]byte, error) {
	cm := g.configMaps[name]
	if cm == nil {
		cm = &corev1.ConfigMap{}
		if err := g.client.Get(ctx, types.NamespacedName{Namespace: g.namespace, Name: name}, cm); err != nil {
			if apierrors.IsNotFound(err) {
				return nil, &Error{
					v1alpha1.ReasonSourceNotFound,
					fmt.Sprintf("There is no ConfigMap %q in namespace %q", name, g.namespace),
				}
			}
			return nil, fmt.Errorf("read ConfigMap %s: %w", name, err)
		}
		g.configMaps[name] = cm
	}
	files := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for key, text := range cm.Data {
		files[key] = []byte(text)
	}
	maps.Copy(files, cm.BinaryData)
	return files, nil
}
