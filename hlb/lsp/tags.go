// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/query"
)

const (
	tagsAge      = 5 * time.Minute        // how long an answer of a registry is good
	tagsPatience = 10 * time.Second       // for an answer
	tagsWait     = 300 * time.Millisecond // of an editor for one; it asks again while a word is typed
	maxTagged    = 100                    // repositories whose tags are remembered
)

// tags remembers the tags of repositories.
type tags struct {
	ask func(ctx context.Context, repository string) ([]string, error)

	mu    sync.Mutex
	known map[string]*tagList
}

// tagList is an answer, or the question for it.
type tagList struct {
	asked time.Time
	done  chan struct{} // closed when there are tags, or an error
	tags  []string
	err   error
}

// of returns the tags of a repository as the registry orders them; false if it has not answered soon.
func (t *tags) of(ctx context.Context, repository string) ([]string, bool, error) {
	t.mu.Lock()
	list := t.known[repository]
	if list == nil || time.Since(list.asked) > tagsAge {
		if len(t.known) >= maxTagged {
			clear(t.known)
		}
		list = &tagList{asked: time.Now(), done: make(chan struct{})}
		t.known[repository] = list
		go func() { // it ends by its patience
			defer close(list.done)
			asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), tagsPatience)
			defer cancel()
			list.tags, list.err = t.ask(asking, repository)
		}()
	}
	t.mu.Unlock()
	select {
	case <-list.done:
		return list.tags, true, list.err
	case <-time.After(tagsWait):
		return nil, false, nil
	}
}

// tagItems lists the tags that the image at an offset can have.
func (s *server) tagItems(
	ctx context.Context, doc *document, file *query.File, offset int,
) *protocol.CompletionList {
	image, ok := file.ImageAt(offset)
	if !ok || s.tags.ask == nil {
		return nil
	}
	found, complete, err := s.tags.of(ctx, image.Repository)
	if err != nil {
		//nolint:errcheck // a client that is gone is noticed elsewhere
		s.client.LogMessage(ctx, &protocol.LogMessageParams{
			Type: protocol.MessageTypeWarning, Message: "The registry lists no tags: " + err.Error(),
		})
	}
	list := &protocol.CompletionList{IsIncomplete: !complete, Items: []protocol.CompletionItem{}}
	at := doc.lines.span(image.Tag)
	for i, tag := range found {
		list.Items = append(list.Items, protocol.CompletionItem{
			Label: tag, Kind: protocol.CompletionItemKindValue,
			SortText: protocol.NewOptional(fmt.Sprintf("%06d", i)),
			TextEdit: &protocol.TextEdit{Range: at, NewText: tag},
		})
	}
	return list
}
