// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/openllb/hlb-operator/scheduler"
)

// baseline is a view without builds, saved as its list of daemons.
type baseline struct{ view *scheduler.View }

func newBaseline(daemons []scheduler.Daemon, nowSeconds float64) (*baseline, error) {
	view, err := scheduler.NewView(daemons, nil, nowSeconds)
	if err != nil {
		return nil, err
	}
	return &baseline{view}, nil
}

// savedBaseline is a baseline as it is saved.
type savedBaseline struct {
	NowSeconds float64            `json:"nowSeconds"`
	Daemons    []scheduler.Daemon `json:"daemons"`
}

// MarshalJSON writes the daemons.
func (b *baseline) MarshalJSON() ([]byte, error) {
	return json.Marshal(savedBaseline{b.view.NowSeconds, b.view.Daemons})
}

// UnmarshalJSON makes the view again.
func (b *baseline) UnmarshalJSON(text []byte) error {
	var saved savedBaseline
	if err := json.Unmarshal(text, &saved); err != nil {
		return err
	}
	made, err := newBaseline(saved.Daemons, saved.NowSeconds)
	if err == nil {
		*b = *made
	}
	return err
}

// prefetchID is a mount on a daemon's volume.
type prefetchID struct {
	Daemon, Epoch, Mount string
}

// MarshalText joins the parts; a mount's id may hold a slash, the others do not.
func (p prefetchID) MarshalText() ([]byte, error) {
	return []byte(p.Daemon + "/" + p.Epoch + "/" + p.Mount), nil
}

// UnmarshalText splits what MarshalText joined.
func (p *prefetchID) UnmarshalText(text []byte) error {
	parts := strings.SplitN(string(text), "/", 3)
	if len(parts) != 3 {
		return fmt.Errorf("prefetch %q has %d parts, want 3", text, len(parts))
	}
	*p = prefetchID{parts[0], parts[1], parts[2]}
	return nil
}
