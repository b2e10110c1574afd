// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Image is the reference of an image whose tag is being written.
type Image struct {
	Repository string    // as written, such as golang or registry.example:5000/team/app
	Tag        diag.Span // what there is of the tag
}

// ImageAt returns the image whose tag an offset is in: in the text of an argument that names an image, behind its
// colon.
func (f *File) ImageAt(offset int) (Image, bool) {
	c := f.cursorAt(offset)
	outer := c.outer()
	o := c.callee(outer)
	if !c.inText || o == nil || o.What != check.BuiltinObject || o.Builtin.Name == "git" {
		return Image{}, false
	}
	arg := outer.args - 1
	if list := o.Params(); arg < 0 || arg >= len(list) || list[arg].Name != "ref" {
		return Image{}, false
	}
	start, ok := f.textBefore(offset)
	if !ok {
		return Image{}, false
	}
	written := string(f.Source[start:offset])
	colon := strings.LastIndexByte(written, ':')
	if colon <= 0 || strings.ContainsAny(written, "@\n") || strings.Contains(written[colon:], "/") {
		return Image{}, false // a digest, or the port of a registry
	}
	end := offset
	for end < len(f.Source) && isTag(f.Source[end]) {
		end++
	}
	image := Image{Repository: written[:colon]}
	image.Tag.Start.Offset, image.Tag.End.Offset = start+colon+1, end
	return image, true
}

// textBefore returns where the plain text that an offset is in, or at the end of, starts behind its quote.
func (f *File) textBefore(offset int) (int, bool) {
	tokens := f.tokens()
	i, _ := slices.BinarySearchFunc(tokens, offset, func(t syntax.Token, offset int) int {
		return t.End.Offset - offset
	})
	if i == len(tokens) || tokens[i].Kind != syntax.Text || i == 0 || tokens[i-1].Kind != syntax.OpenString ||
		f.text(spanOf(tokens[i-1])) != `"` {
		return 0, false
	}
	return tokens[i].Start.Offset, true
}

// isTag reports whether a tag may have a character.
func isTag(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("_.-", c) >= 0
}
