// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Tags lists at most so many tags of a repository, as a registry orders them.
func (User) Tags(ctx context.Context, repository string, most int) ([]string, error) {
	named, plain, opts, err := userRef(repository)
	if err != nil {
		return nil, err
	}
	at, err := name.NewRepository(named.Name(), opts...)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(&cautious{remote.DefaultTransport, plain}), remote.WithPageSize(most))
	if err != nil {
		return nil, err
	}
	pages, err := puller.Lister(ctx, at)
	if err != nil {
		return nil, err
	}
	var tags []string
	for pages.HasNext() && len(tags) < most {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		tags = append(tags, page.Tags...)
	}
	return tags[:min(len(tags), most)], nil
}

// Host returns the registry that a reference is of, such as docker.io; false if it is no reference.
func Host(ref string) (string, bool) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", false
	}
	return reference.Domain(named), true
}
