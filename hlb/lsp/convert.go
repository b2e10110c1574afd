// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"path/filepath"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// diagnostics returns what is to show of a document. Findings without a place in it, and those of modules, are shown
// at its start.
func (s *server) diagnostics(doc *document) []protocol.Diagnostic {
	out := []protocol.Diagnostic{}
	for _, d := range doc.file().Found {
		out = append(out, s.diagnostic(doc, d))
	}
	return out
}

func (s *server) diagnostic(doc *document, d *diag.Diagnostic) protocol.Diagnostic {
	out := protocol.Diagnostic{
		Severity: protocol.DiagnosticSeverityError,
		Code:     protocol.String(d.Code),
		Source:   protocol.NewOptional("hlb"),
	}
	message := d.Message
	if d.Hint != "" {
		message += "\n" + d.Hint
	}
	if d.Severity == diag.Warning {
		out.Severity = protocol.DiagnosticSeverityWarning
	}
	if d.Code == diag.Deprecated {
		out.Tags = protocol.NewDiagnosticTags(protocol.DiagnosticTagDeprecated)
	}
	switch {
	case d.Primary.File == doc.path:
		out.Range = doc.lines.span(d.Primary)
	case d.Primary.IsValid():
		message = d.Primary.String() + ": " + message
	}
	out.Message = protocol.String(message)
	for _, l := range d.Secondary {
		if at, ok := s.location(l.Span); ok {
			out.RelatedInformation = append(out.RelatedInformation,
				protocol.DiagnosticRelatedInformation{Location: at, Message: l.Message})
			if d.Primary.File != doc.path && l.Span.File == doc.path {
				out.Range = at.Range // the import of the module that is wrong
			}
		}
	}
	return out
}

// location returns the place of a span; false for one that is in no file of this machine.
func (s *server) location(span diag.Span) (protocol.Location, bool) {
	if !filepath.IsAbs(span.File) {
		if doc := s.docs.byPath(span.File); doc != nil { // never saved
			return protocol.Location{URI: doc.uri, Range: doc.lines.span(span)}, true
		}
		return protocol.Location{}, false
	}
	doc, err := s.docs.load(span.File)
	if err != nil {
		return protocol.Location{}, false
	}
	return protocol.Location{URI: doc.uri, Range: doc.lines.span(span)}, true
}

// edits returns edits as the protocol has them, by document. Those of files that can't be read are left out.
func (s *server) edits(list []diag.Edit) map[uri.URI][]protocol.TextEdit {
	out := map[uri.URI][]protocol.TextEdit{}
	for _, e := range list {
		if at, ok := s.location(e.Span); ok {
			out[at.URI] = append(out[at.URI], protocol.TextEdit{Range: at.Range, NewText: e.Text})
		}
	}
	return out
}

func markdown(text string) *protocol.MarkupContent {
	return &protocol.MarkupContent{Kind: protocol.MarkupKindMarkdown, Value: text}
}
