// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/query"
)

// document is one version of an open file. It does not change, but its analysis is that of the newest version only.
type document struct {
	uri     uri.URI
	path    string
	version int32
	lines   *lines
	editing *query.Editing     // of all versions of the file
	file    func() *query.File // analyzed once, when it is first wanted
}

// documents are the open files. The table is safe for concurrent use, documents are used under analysis.
type documents struct {
	// analysis is held by all that looks at documents: what one version knows becomes what the next one knows.
	analysis sync.Mutex

	mu   sync.Mutex
	open map[string]*document // by path, because clients differ in how they write URIs

	// set by Initialize
	utf8  bool     // columns are bytes
	roots []string // folders of the workspace
}

// maxDocument bounds the text of a document, as the parser does.
const maxDocument = 8 << 20

// set makes text the newest version of a document.
func (d *documents) set(u uri.URI, version int32, text []byte) (*document, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%s is longer than %d bytes", u, maxDocument)
	}
	editing := &query.Editing{}
	if before := d.get(u); before != nil {
		editing = before.editing
	}
	doc := d.make(u, version, text, editing)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[doc.path] = doc
	return doc, nil
}

func (d *documents) make(u uri.URI, version int32, text []byte, editing *query.Editing) *document {
	path := pathOf(u)
	return &document{
		uri: u, path: path, version: version, lines: newLines(text, d.utf8), editing: editing,
		file: sync.OnceValue(func() *query.File { return d.analyze(path, text, editing) }),
	}
}

// analyze analyzes a text with the modules it imports, which are read as the editor has them.
func (d *documents) analyze(path string, text []byte, editing *query.Editing) *query.File {
	f := editing.Analyze(path, text)
	root := editorRoot{Machine: module.Machine{HomeDir: os.UserHomeDir}, docs: d}
	vendor := d.vendor(path)
	remote := lower.RemoteRoots(vendor)
	opts := link.Options{Vendor: vendor, Remote: func(
		ctx context.Context, loader *module.Loader, in *module.Module, imp *ast.Import,
	) (module.Root, bool) {
		root, ok := remote(ctx, loader, in, imp)
		if local, is := root.(module.Local); is {
			return editorTree{Local: local, docs: d}, ok
		}
		return root, ok
	}}
	f.Link(context.Background(), module.Dir{Root: root, Path: filepath.Dir(path)}, opts)
	return f
}

// vendor returns the vendored modules of the workspace folder that a file is in, nil if it has none. Each analysis has
// its own, since it remembers what it has read.
func (d *documents) vendor(path string) *module.Vendor {
	for _, root := range d.roots {
		dir := filepath.Join(root, module.VendorDir)
		if _, err := os.Stat(dir); err == nil && strings.HasPrefix(path, root+string(filepath.Separator)) {
			return &module.Vendor{Dir: module.Dir{Root: module.Machine{HomeDir: os.UserHomeDir}, Path: dir}}
		}
	}
	return nil
}

func (d *documents) close(u uri.URI) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, pathOf(u))
}

// get returns the newest version of a document, nil if it is not open.
func (d *documents) get(u uri.URI) *document { return d.byPath(pathOf(u)) }

// byPath returns the open document of a file, nil if it is not open.
func (d *documents) byPath(path string) *document {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[path]
}

// all returns the open documents.
func (d *documents) all() []*document {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*document, 0, len(d.open))
	for _, doc := range d.open {
		out = append(out, doc)
	}
	return out
}

// renew has the open documents besides that of a path analyzed again if they import anything, and returns them: what
// they import may have changed.
func (d *documents) renew(but string) []*document {
	var out []*document
	for _, doc := range d.all() {
		if doc.path == but || !doc.file().HasImports() {
			continue
		}
		again := d.make(doc.uri, doc.version, doc.lines.text, doc.editing)
		d.mu.Lock()
		if d.open[doc.path] == doc {
			d.open[doc.path] = again
			out = append(out, again)
		}
		d.mu.Unlock()
	}
	return out
}

// load returns a file as the editor has it, else as it is on disk.
func (d *documents) load(path string) (*document, error) {
	if doc := d.byPath(path); doc != nil {
		return doc, nil
	}
	text, err := module.Machine{}.Read(context.Background(), path, maxDocument)
	if err != nil {
		return nil, err
	}
	return d.make(uri.File(path), 0, text, &query.Editing{}), nil
}

// text returns the text of an open file as the editor has it, and false if it is not open or longer than limit.
func (d *documents) text(path string, limit int) ([]byte, bool) {
	doc := d.byPath(path)
	if doc == nil || len(doc.lines.text) > limit {
		return nil, false
	}
	return doc.lines.text, true
}

// editorRoot is the files of this machine, with those that are open as the editor has them.
type editorRoot struct {
	module.Machine
	docs *documents
}

// Read implements module.Root.
func (r editorRoot) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	if text, open := r.docs.text(name, limit); open {
		return text, nil
	}
	return r.Machine.Read(ctx, name, limit)
}

// editorTree is the same of one directory.
type editorTree struct {
	module.Local
	docs *documents
}

// Read implements module.Root.
func (t editorTree) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	if text, open := t.docs.text(t.Display(name), limit); open {
		return text, nil
	}
	return t.Local.Read(ctx, name, limit)
}

// change applies the changes of an editor to a text.
func change(text []byte, utf8 bool, events []protocol.TextDocumentContentChangeEvent) ([]byte, error) {
	for _, e := range events {
		switch e := e.(type) {
		case *protocol.TextDocumentContentChangeWholeDocument:
			text = []byte(e.Text)
		case *protocol.TextDocumentContentChangePartial:
			l := newLines(text, utf8)
			start, end := l.offset(e.Range.Start), l.offset(e.Range.End)
			if start > end {
				return nil, errors.New("a change ends before it begins")
			}
			next := make([]byte, 0, len(text)+len(e.Text)-(end-start))
			next = append(append(append(next, text[:start]...), e.Text...), text[end:]...)
			text = next
		}
	}
	return text, nil
}

// pathOf is the file of a document. Documents that have none, as those that were never saved, are named by their URI.
func pathOf(u uri.URI) string {
	if u.IsFile() {
		return filepath.Clean(u.FsPath())
	}
	return string(u)
}

// maxWorkspace bounds the files that are looked through for a name, and the folders in which they are looked for.
const (
	maxWorkspace = 500
	maxFolders   = 5_000
)

// workspaceFiles lists the programs below folders; hidden folders and those of packages are left out.
func workspaceFiles(roots []string) []string {
	var out []string
	folders := 0
	for _, root := range roots {
		//nolint:errcheck // what can't be read is left out
		filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil
			case e.IsDir():
				folders++
				if hidden := len(e.Name()) > 1 && e.Name()[0] == '.'; path != root && hidden ||
					e.Name() == "node_modules" || folders > maxFolders {
					return fs.SkipDir
				}
			case filepath.Ext(path) == ".hlb" && e.Type().IsRegular():
				out = append(out, path)
			}
			if len(out) >= maxWorkspace {
				return fs.SkipAll
			}
			return nil
		})
	}
	return out
}
