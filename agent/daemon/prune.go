// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client"
)

// pruneBatch bounds the records named in one request, so that it stays far below the limit of a gRPC message.
const pruneBatch = 256

// Prune deletes records of the cache by their ids and returns what each of them took that is gone now, by id. A
// record in use is left alone, without an error, and so is one that others stand on; one that is unknown is gone.
// After an error the map says how far it came.
func (d *Daemon) Prune(ctx context.Context, ids []string) (map[string]int64, error) {
	freed := map[string]int64{}
	for len(ids) > 0 {
		batch := ids[:min(len(ids), pruneBatch)]
		ids = ids[len(batch):]
		filters := make([]string, 0, len(batch))
		for _, id := range batch {
			filters = append(filters, "id=="+id)
		}
		if err := d.prune(ctx, filters, freed); err != nil {
			return freed, fmt.Errorf("prune %d records: %w", len(batch), err)
		}
	}
	return freed, nil
}

func (d *Daemon) prune(ctx context.Context, filters []string, freed map[string]int64) error {
	gone, done := make(chan client.UsageInfo), make(chan struct{})
	go func() {
		defer close(done)
		for r := range gone {
			freed[r.ID] = max(r.Size, 0)
		}
	}()
	err := d.client.Prune(ctx, gone, client.PruneAll, client.WithFilter(filters))
	close(gone)
	<-done
	return err
}
