// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/query"
)

const (
	libText = "export make\nfs make(string how) {\n\timage how\n}\n"
	useText = "import lib from \"lib.hlb\"\n\nfs default() {\n\tlib.make \"a\"\n\trun \"é𐐀 ${v}\"\n}\n\nstring v() { \"x\"; }\n"
)

func TestDiagnosticsFollowTyping(t *testing.T) {
	e := newEditor(t, map[string]string{"lib.hlb": libText}, Options{}, nil)
	e.open("use.hlb", useText)
	if got := e.diagnostics("use.hlb", 1); len(got) > 0 {
		t.Errorf("a good program has %q", got)
	}
	e.edit("use.hlb", 2, "run", "rnu")
	want := []string{"`rnu` is not defined\ndid you mean `run`?"}
	if diff := cmp.Diff(want, e.diagnostics("use.hlb", 2)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.edit("use.hlb", 3, "${v}\"\n", "${v}")
	if got := e.diagnostics("use.hlb", 3); len(got) != 1 || !strings.Contains(got[0], "closing") {
		t.Errorf("an open string is %q", got)
	}
}

func TestModulesAreReadAsTheEditorHasThem(t *testing.T) {
	e := newEditor(t, map[string]string{"lib.hlb": libText}, Options{}, nil)
	e.open("use.hlb", useText)
	e.diagnostics("use.hlb", 1)
	e.open("lib.hlb", libText)
	e.edit("lib.hlb", 2, "string how) {\n\timage how", "int how) {\n\tmkfile \"/f\" how \"x\"")
	got := e.diagnostics("use.hlb", 1)
	for len(got) == 0 { // those of before may come first
		got = e.diagnostics("use.hlb", 1)
	}
	if diff := cmp.Diff([]string{"cannot use string as int"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestModulesOfDirectoriesAreRead imports a filesystem that is a directory beside the program.
func TestModulesOfDirectoriesAreRead(t *testing.T) {
	e := newEditor(t, map[string]string{"m/module.hlb": libText}, Options{}, nil)
	e.open("use.hlb", "import lib from fs { local \"m\"; }\nfs default() { lib.make \"a\"; }\n")
	if got := e.diagnostics("use.hlb", 1); len(got) > 0 {
		t.Errorf("a good program has %q", got)
	}
	def, err := e.server.Definition(e.ctx, &protocol.DefinitionParams{
		TextDocumentPositionParams: e.place("use.hlb", "make"),
	})
	if at, ok := def.(*protocol.Location); err != nil || !ok || at.URI != e.uri("m/module.hlb") {
		t.Errorf("defined at %+v, %v", def, err)
	}
	e.edit("use.hlb", 2, "lib.make \"a\"", "lib.make 1")
	if diff := cmp.Diff([]string{"cannot use int as string"}, e.diagnostics("use.hlb", 2)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.open("m/module.hlb", libText)
	e.edit("m/module.hlb", 2, "string how) {\n\timage how", "int how) {\n\tmkfile \"/f\" how \"x\"")
	for got := e.diagnostics("use.hlb", 2); len(got) > 0; { // the module as the editor has it
		got = e.diagnostics("use.hlb", 2)
	}
}

func TestDefinitionReferencesAndRename(t *testing.T) {
	const other = "import l from \"../lib.hlb\"\nfs x() { l.make \"b\"; }\n"
	e := newEditor(t, map[string]string{"lib.hlb": libText, "sub/other.hlb": other, ".hidden/no.hlb": other},
		Options{}, nil)
	e.open("use.hlb", useText)
	def, err := e.server.Definition(e.ctx, &protocol.DefinitionParams{
		TextDocumentPositionParams: e.place("use.hlb", "make"),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, ok := def.(*protocol.Location)
	if !ok || at.URI != e.uri("lib.hlb") || at.Range.Start.Line != 1 || at.Range.Start.Character != 3 {
		t.Errorf("defined at %+v", def)
	}
	refs, err := e.server.References(e.ctx, &protocol.ReferenceParams{
		TextDocumentPositionParams: e.place("use.hlb", "make"),
		Context:                    protocol.ReferenceContext{IncludeDeclaration: true},
	})
	var files []string
	for _, r := range refs {
		files = append(files, filepath.Base(r.URI.FsPath()))
	}
	if diff := cmp.Diff([]string{"lib.hlb", "lib.hlb", "other.hlb", "use.hlb"}, files); diff != "" || err != nil {
		t.Errorf("references: %v (-want +got):\n%s", err, diff)
	}
	edit, err := e.server.Rename(e.ctx, &protocol.RenameParams{
		TextDocumentPositionParams: e.place("use.hlb", "make"), NewName: "build",
	})
	if err != nil || len(edit.Changes[e.uri("lib.hlb")]) != 2 || len(edit.Changes[e.uri("sub/other.hlb")]) != 1 ||
		len(edit.Changes[e.uri("use.hlb")]) != 1 {
		t.Errorf("%+v, %v", edit, err)
	}
	_, err = e.server.Rename(e.ctx, &protocol.RenameParams{
		TextDocumentPositionParams: e.place("use.hlb", "v()"), NewName: "image",
	})
	if err == nil || !strings.Contains(err.Error(), "name of a builtin") {
		t.Errorf("a bad name is accepted: %v", err)
	}
	prepared, err := e.server.PrepareRename(e.ctx, &protocol.PrepareRenameParams{
		TextDocumentPositionParams: e.place("use.hlb", "v}"),
	})
	if p, ok := prepared.(*protocol.PrepareRenamePlaceholder); !ok || p.Placeholder != "v" || err != nil {
		t.Errorf("%+v, %v", prepared, err)
	}
}

// TestColumns: behind characters of two bytes and of two code units, columns are those that the client counts.
func TestColumns(t *testing.T) {
	for name, tc := range map[string]struct {
		encodings []protocol.PositionEncodingKind
		want      uint32 // of v in `	run "é𐐀 ${v}"`
	}{
		"UTF-16 by default": {nil, 12},
		"bytes if offered":  {[]protocol.PositionEncodingKind{"utf-32", "utf-8"}, 15},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEditor(t, map[string]string{"lib.hlb": libText}, Options{}, func(p *protocol.InitializeParams) {
				p.Capabilities.General = &protocol.GeneralClientCapabilities{PositionEncodings: tc.encodings}
			})
			e.open("use.hlb", useText)
			at := protocol.TextDocumentPositionParams{
				TextDocument: protocol.TextDocumentIdentifier{URI: e.uri("use.hlb")},
				Position:     protocol.Position{Line: 4, Character: tc.want},
			}
			h, err := e.server.Hover(e.ctx, &protocol.HoverParams{TextDocumentPositionParams: at})
			if err != nil || h == nil || h.Range.Start.Character != tc.want {
				t.Fatalf("%+v, %v", h, err)
			}
		})
	}
}

func TestCompletionSignatureAndHover(t *testing.T) {
	e := newEditor(t, map[string]string{"lib.hlb": libText}, Options{}, func(p *protocol.InitializeParams) {
		yes := true
		p.Capabilities.TextDocument = &protocol.TextDocumentClientCapabilities{
			Completion: &protocol.CompletionClientCapabilities{
				CompletionItem: &protocol.ClientCompletionItemOptions{SnippetSupport: &yes},
			},
		}
	})
	e.open("use.hlb", useText)
	e.edit("use.hlb", 2, "\tlib.make", "\trun \"x\" with op\n\tlib.make")
	got, err := e.server.Completion(e.ctx, &protocol.CompletionParams{
		TextDocumentPositionParams: e.place("use.hlb", "p\n\tlib"),
	})
	if err != nil {
		t.Fatal(err)
	}
	list := got.(*protocol.CompletionList)
	i := slices.IndexFunc(list.Items, func(i protocol.CompletionItem) bool { return i.Label == "option" })
	if i < 0 {
		t.Fatalf("%+v", list.Items)
	}
	edit := list.Items[i].TextEdit.(*protocol.TextEdit)
	if edit.NewText != "option {\n\t$0\n}" || edit.Range.End.Character-edit.Range.Start.Character != 2 {
		t.Errorf("%+v", edit)
	}
	help, err := e.server.SignatureHelp(e.ctx, &protocol.SignatureHelpParams{
		TextDocumentPositionParams: e.place("use.hlb", "\"a\""),
	})
	if err != nil || help == nil || help.Signatures[0].Label != "fs make(string how)" {
		t.Errorf("%+v, %v", help, err)
	}
	hover, err := e.server.Hover(e.ctx, &protocol.HoverParams{TextDocumentPositionParams: e.place("use.hlb", "make")})
	if err != nil || !strings.Contains(hover.Contents.(*protocol.MarkupContent).Value, "fs make(string how)") {
		t.Errorf("%+v, %v", hover, err)
	}
}

func TestFormattingChangesWhatDiffers(t *testing.T) {
	e := newEditor(t, nil, Options{}, nil)
	e.open("a.hlb", "fs a() { scratch }\n\n\n\nfs  b() {\nscratch }\n\nfs c() { scratch }\n")
	edits, err := e.server.Formatting(e.ctx, &protocol.DocumentFormattingParams{
		TextDocument: protocol.TextDocumentIdentifier{URI: e.uri("a.hlb")},
	})
	if err != nil || len(edits) != 1 || edits[0].Range.Start.Line != 2 || edits[0].Range.End.Line != 6 {
		t.Fatalf("%+v, %v", edits, err)
	}
	l := newLines([]byte(e.texts["a.hlb"]), false)
	text := e.texts["a.hlb"][:l.offset(edits[0].Range.Start)] + edits[0].NewText +
		e.texts["a.hlb"][l.offset(edits[0].Range.End):]
	want := "fs a() { scratch }\n\nfs b() {\n\tscratch\n}\n\nfs c() { scratch }\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.edit("a.hlb", 2, "}", "")
	if edits, err := e.server.Formatting(e.ctx, &protocol.DocumentFormattingParams{
		TextDocument: protocol.TextDocumentIdentifier{URI: e.uri("a.hlb")},
	}); err != nil || len(edits) > 0 {
		t.Errorf("a broken program is changed: %+v, %v", edits, err)
	}
}

func TestQuickFix(t *testing.T) {
	e := newEditor(t, map[string]string{"lib.hlb": "fs make() { scratch; }\n"}, Options{}, nil)
	e.open("use.hlb", "import lib from \"lib.hlb\"\nfs default() { lib.make; }\n")
	at := e.place("use.hlb", "make").Position
	actions, err := e.server.CodeAction(e.ctx, &protocol.CodeActionParams{
		TextDocument: protocol.TextDocumentIdentifier{URI: e.uri("use.hlb")},
		Range:        protocol.Range{Start: at, End: at},
		Context:      protocol.CodeActionContext{Only: []protocol.CodeActionKind{"quickfix"}},
	})
	if err != nil || len(actions) != 1 {
		t.Fatalf("%+v, %v", actions, err)
	}
	edits := actions[0].(*protocol.CodeAction).Edit.Changes[e.uri("lib.hlb")]
	if diff := cmp.Diff([]protocol.TextEdit{{NewText: "export make\n"}}, edits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCodeActions: what the hints say is offered as changes, with the diagnostic that they mend.
func TestCodeActions(t *testing.T) {
	const apt = "fs default() {\n\trun \"x\" with option {\n\t\tcacheMount \"/var/lib/apt\" %s\n\t}\n}\n"
	for name, tc := range map[string]struct {
		text, mark  string
		title, want string
		mends       bool
	}{
		"a forgotten with": {
			"fs default() {\n\trun \"x\" option { dir \"/\"; }\n}\n", "option", "Add `with`",
			"fs default() {\n\trun \"x\" with option { dir \"/\"; }\n}\n", true,
		},
		"a misspelt name": {
			"fs default() {\n\timgae \"a\"\n}\n", "imgae", "Change to `image`",
			"fs default() {\n\timage \"a\"\n}\n", true,
		},
		"an unsafe mode": {
			fmt.Sprintf(apt, "with sharing(\"shared\")"), "\"shared\"", "Share as `locked`",
			fmt.Sprintf(apt, "with sharing(\"locked\")"), true,
		},
		"a mode where there is none": {
			strings.Replace(fmt.Sprintf(apt, ""), " \n", "\n", 1), "cacheMount", "Share the mount as `private`",
			fmt.Sprintf(apt, "with sharing(\"private\")"), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEditor(t, nil, Options{}, nil)
			e.open("a.hlb", tc.text)
			at := e.place("a.hlb", tc.mark).Position
			actions, err := e.server.CodeAction(e.ctx, &protocol.CodeActionParams{
				TextDocument: protocol.TextDocumentIdentifier{URI: e.uri("a.hlb")},
				Range:        protocol.Range{Start: at, End: at},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range actions {
				action := a.(*protocol.CodeAction)
				if action.Title != tc.title {
					continue
				}
				edit := action.Edit.Changes[e.uri("a.hlb")][0]
				l := newLines([]byte(tc.text), false)
				got := tc.text[:l.offset(edit.Range.Start)] + edit.NewText + tc.text[l.offset(edit.Range.End):]
				if diff := cmp.Diff(tc.want, got); diff != "" || (len(action.Diagnostics) > 0) != tc.mends {
					t.Errorf("mends %d (-want +got):\n%s", len(action.Diagnostics), diff)
				}
				return
			}
			for _, a := range actions {
				t.Errorf("offered instead: %s", a.(*protocol.CodeAction).Title)
			}
			t.Error("it is not offered")
		})
	}
}

func TestSymbolsFoldsAndTokens(t *testing.T) {
	e := newEditor(t, map[string]string{"lib.hlb": libText}, Options{}, nil)
	e.open("use.hlb", useText)
	id := protocol.TextDocumentIdentifier{URI: e.uri("use.hlb")}
	outline, err := e.server.DocumentSymbol(e.ctx, &protocol.DocumentSymbolParams{TextDocument: id})
	list, ok := outline.(protocol.DocumentSymbolSlice)
	if err != nil || !ok || len(list) != 3 || list[1].Name != "default" {
		t.Errorf("%+v, %v", outline, err)
	}
	found, err := e.server.Symbols(e.ctx, &protocol.WorkspaceSymbolParams{Query: "MAK"})
	symbols, ok := found.(protocol.SymbolInformationSlice)
	if err != nil || !ok || len(symbols) != 1 || symbols[0].Name != "make" {
		t.Errorf("%+v, %v", found, err)
	}
	folds, err := e.server.FoldingRanges(e.ctx, &protocol.FoldingRangeParams{TextDocument: id})
	if err != nil || len(folds) != 1 || folds[0].StartLine != 2 || folds[0].EndLine != 4 {
		t.Errorf("%+v, %v", folds, err)
	}
	uses, err := e.server.DocumentHighlight(e.ctx, &protocol.DocumentHighlightParams{
		TextDocumentPositionParams: e.place("use.hlb", "v}"),
	})
	if err != nil || len(uses) != 2 || uses[0].Kind != protocol.DocumentHighlightKindRead ||
		uses[1].Kind != protocol.DocumentHighlightKindWrite {
		t.Errorf("%+v, %v", uses, err)
	}
	tokens, err := e.server.SemanticTokensFull(e.ctx, &protocol.SemanticTokensParams{TextDocument: id})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint32{0, 0, 6, 0, 0, 0, 7, 3, 6, 1}, tokens.Data[:10]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLensesTellWhatTheDaemonHolds(t *testing.T) {
	src := "fs default() {\n\timage \"a\"\n\trun \"x\" with cacheMount(\"/c\")\n}\n"
	for name, tc := range map[string]struct {
		usage   func(context.Context) (*query.Held, error)
		title   string
		message string
	}{
		"no daemon": {nil, "1 cache mount, 1 image", "default\ncache mount //c at /c, shared\nimage a\n"},
		"a daemon": {
			func(context.Context) (*query.Held, error) {
				return &query.Held{Mounts: map[string]int64{"//c": 2000}}, nil
			},
			"1 cache mount, 1 image · daemon holds 1 of 1 mounts, 0 of 1 images, 2.0 kB",
			"default\ncache mount //c at /c, shared, 2.0 kB on the daemon\nimage a, not on the daemon\n",
		},
		"one that does not answer": {
			func(context.Context) (*query.Held, error) { return nil, errors.New("gone") },
			"1 cache mount, 1 image", "The daemon does not say what it holds: gone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEditor(t, nil, Options{Usage: tc.usage}, nil)
			e.open("a.hlb", src)
			id := protocol.TextDocumentIdentifier{URI: e.uri("a.hlb")}
			lenses, err := e.server.CodeLens(e.ctx, &protocol.CodeLensParams{TextDocument: id})
			if err != nil || len(lenses) != 1 || lenses[0].Command.Title != tc.title {
				t.Fatalf("%+v, %v", lenses, err)
			}
			c := lenses[0].Command
			if _, err := e.server.ExecuteCommand(e.ctx, &protocol.ExecuteCommandParams{
				Command: c.Command, Arguments: c.Arguments,
			}); err != nil {
				t.Fatal(err)
			}
			e.told(tc.message)
			hints, err := e.server.InlayHint(e.ctx, &protocol.InlayHintParams{
				TextDocument: id, Range: protocol.Range{End: protocol.Position{Line: 9}},
			})
			if err != nil || len(hints) != 1 || hints[0].Label != protocol.String("id //c, shared") {
				t.Errorf("%+v, %v", hints, err)
			}
		})
	}
}

// TestClosedFilesAreNoError: editors ask about files that they have just closed.
func TestClosedFilesAreNoError(t *testing.T) {
	e := newEditor(t, nil, Options{}, nil)
	e.open("a.hlb", "fs a() {}\n")
	at := e.place("a.hlb", "a()")
	closed := &protocol.DidCloseTextDocumentParams{TextDocument: at.TextDocument}
	if err := e.server.DidClose(e.ctx, closed); err != nil {
		t.Fatal(err)
	}
	if h, err := e.server.Hover(e.ctx, &protocol.HoverParams{TextDocumentPositionParams: at}); h != nil || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
	if c, err := e.server.Completion(e.ctx, &protocol.CompletionParams{TextDocumentPositionParams: at}); err != nil {
		t.Errorf("%+v, %v", c, err)
	}
}
