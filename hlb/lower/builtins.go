// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"fmt"

	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// fsBuiltin evaluates a call of kind fs on the current filesystem.
type fsBuiltin func(e *evaluator, c *call, cur *filesystem) (*filesystem, error)

// textBuiltin evaluates a call of kind string.
type textBuiltin func(e *evaluator, c *call) (string, error)

var fsBuiltins = map[string]fsBuiltin{
	"scratch":               (*evaluator).fsScratch,
	"image":                 (*evaluator).fsImage,
	"http":                  (*evaluator).fsHTTP,
	"git":                   (*evaluator).fsGit,
	"local":                 (*evaluator).fsLocal,
	"frontend":              (*evaluator).fsFrontend,
	"shell":                 (*evaluator).fsShell,
	"run":                   (*evaluator).fsRun,
	"env":                   (*evaluator).fsEnv,
	"dir":                   (*evaluator).fsDir,
	"user":                  (*evaluator).fsUser,
	"mkdir":                 (*evaluator).fsMkdir,
	"mkfile":                (*evaluator).fsMkfile,
	"rm":                    (*evaluator).fsRm,
	"copy":                  (*evaluator).fsCopy,
	"merge":                 (*evaluator).fsMerge,
	"diff":                  (*evaluator).fsDiff,
	"entrypoint":            (*evaluator).fsEntrypoint,
	"cmd":                   (*evaluator).fsCmd,
	"label":                 (*evaluator).fsLabel,
	"expose":                (*evaluator).fsExpose,
	"volumes":               (*evaluator).fsVolumes,
	"stopSignal":            (*evaluator).fsStopSignal,
	"dockerPush":            (*evaluator).fsDockerPush,
	"dockerLoad":            (*evaluator).fsDockerLoad,
	"download":              (*evaluator).fsDownload,
	"downloadTarball":       (*evaluator).fsDownloadTarball,
	"downloadOCITarball":    (*evaluator).fsDownloadOCITarball,
	"downloadDockerTarball": (*evaluator).fsDownloadDockerTarball,
	"cacheContext":          (*evaluator).fsCacheContext,
}

var textBuiltins = map[string]textBuiltin{
	"format":    (*evaluator).textFormat,
	"template":  (*evaluator).textTemplate,
	"localArch": (*evaluator).textLocalArch,
	"localOs":   (*evaluator).textLocalOs,
	"localCwd":  (*evaluator).textLocalCwd,
	"localEnv":  (*evaluator).textLocalEnv,
	"localRun":  (*evaluator).textLocalRun,
	"manifest":  (*evaluator).textManifest,
}

func (e *evaluator) callFS(c *call, cur *filesystem) (value, error) {
	c.cur = cur
	size := sizeOfArgs(c.args)
	for _, o := range c.opts {
		size += o.size
	}
	if err := e.charge(size, c.span); err != nil {
		return nil, err
	}
	b := fsBuiltins[c.name]
	if b == nil {
		return nil, diag.Errorf(diag.Internal, c.span, "%s has no evaluation", c.name)
	}
	return nilSafe(b(e, c, cur))
}

// nilSafe keeps a nil *filesystem from becoming a value.
func nilSafe(f *filesystem, err error) (value, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (e *evaluator) callText(c *call) (value, error) {
	b := textBuiltins[c.name]
	if b == nil {
		return nil, diag.Errorf(diag.Internal, c.span, "%s has no evaluation", c.name)
	}
	s, err := b(e, c)
	if err != nil {
		return nil, err
	}
	if err := e.fits(len(s), c.span); err != nil {
		return nil, err
	}
	return e.text(s), e.chargeText(len(s), c.span)
}

// conversion reports a text that does not convert, at the argument, with the calls that led to it.
func (e *evaluator) conversion(code diag.Code, at diag.Span, format string, args ...any) *diag.Diagnostic {
	d := diag.Errorf(code, at, format, args...)
	for i := len(e.stack) - 1; i >= 0 && i >= len(e.stack)-maxChain; i-- {
		d.WithLabel(e.stack[i].span, "%s is called here", e.stack[i].name)
	}
	return d
}

// failed reports a look-up or solve that failed while compiling.
func (e *evaluator) failed(at diag.Span, err error, format string, args ...any) error {
	if late := e.timeout(at); late != nil {
		return late
	}
	var d *diag.Diagnostic
	if errors.As(err, &d) && !d.Primary.IsValid() {
		d.Primary = at // found by a helper that knows no place
		return d
	}
	code := Lookup
	if grpcerrors.Code(err) == codes.Unavailable {
		code = DaemonLost
	}
	return e.conversion(code, at, "%s: %v", fmt.Sprintf(format, args...), err)
}

// maxChain is how many calls a diagnostic shows: more than fit a screen help nobody.
const maxChain = 10
