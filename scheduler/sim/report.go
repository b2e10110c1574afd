// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"fmt"
)

// File is one file of a report.
type File struct {
	Name    string
	Content []byte
}

// Report is sim.json and the plots that the results have data for.
func Report(results []*Result) ([]File, error) {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write results: %w", err)
	}
	files := []File{{"sim.json", append(text, '\n')}}
	return append(files, plots(results)...), nil
}

// String is one line for a terminal.
func (r *Result) String() string {
	if r.Unstable {
		return fmt.Sprintf("%-26s %-21s unstable", r.Workload, r.Policy)
	}
	return fmt.Sprintf("%-26s %-21s mean %7.1fs p95 %7.1fs over bound %.3f warm %.4f primed %.4f cold %.4f pulled %7.0f GB wait max %6.0fs lost wait %.1f setup %.1f stale %.1f missing %.1f tightest %.3f", r.Workload, r.Policy,
		r.MeanSeconds, r.P95Seconds, r.OverBound, r.Warm, r.Primed, r.Cold, float64(r.BytesPrimed)/1e9, r.MaxWait,
		r.Lost.WaitSeconds, r.Lost.SetupSeconds, r.Lost.StaleSeconds, r.Lost.MissingSeconds, r.OverTightest)
}
