// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
)

// counts are numbers of requests by kind: the verb of the API server's metrics, a blank, the resource, and the
// subresource after a slash, as in "PATCH hlbbuilds/status". Discovery, metrics and health have no resource and are
// counted together for each verb.
type counts map[string]int

// noResource stands for the resource in the kind of a request that has none.
const noResource = "(no resource)"

func kindOf(verb, resource, subresource string) string {
	switch {
	case resource == "":
		return verb + " " + noResource
	case subresource == "":
		return verb + " " + resource
	default:
		return verb + " " + resource + "/" + subresource
	}
}

// minus subtracts others from c, and drops what is not positive then: a request in flight may be counted by its
// sender and not yet by the server.
func (c counts) minus(others ...counts) counts {
	out := maps.Clone(c)
	for _, other := range others {
		for kind, n := range other {
			out[kind] -= n
		}
	}
	maps.DeleteFunc(out, func(_ string, n int) bool { return n <= 0 })
	return out
}

// sum is the number of requests of the kinds that match.
func (c counts) sum(matches func(verb, resource, subresource string) bool) int {
	sum := 0
	for kind, n := range c {
		verb, rest, _ := strings.Cut(kind, " ")
		resource, subresource, _ := strings.Cut(rest, "/")
		if matches(verb, resource, subresource) {
			sum += n
		}
	}
	return sum
}

func (c counts) total() int {
	return c.sum(func(_, _, _ string) bool { return true })
}

// largest are the kinds by descending numbers of requests.
func (c counts) largest() []string {
	return slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		if c[a] != c[b] {
			return c[b] - c[a]
		}
		return strings.Compare(a, b)
	})
}

var changes = sets.New("PATCH", "PUT", "APPLY")

// statusWrites matches changes of the status of a resource.
func statusWrites(of string) func(verb, resource, subresource string) bool {
	return func(verb, resource, subresource string) bool {
		return changes.Has(verb) && resource == of && subresource == "status"
	}
}

// eventWrites matches events that are created or repeated.
func eventWrites(verb, resource, _ string) bool {
	return resource == "events" && (verb == "POST" || changes.Has(verb))
}

// applies matches writes of objects that are desired: server-side apply, and other changes of anything but a status,
// an event or a Lease.
func applies(verb, resource, subresource string) bool {
	if verb == "APPLY" {
		return subresource == ""
	}
	return changes.Has(verb) && subresource == "" && resource != "events" && resource != "leases"
}

// served is what the API server counted since its start.
type served struct {
	// requests of everybody and own requests of the server; a watch counts from its beginning.
	requests, own counts
	// refused are the requests answered with an error, by kind and code.
	refused counts
	// watchEvents are the events sent to watches, by resource.
	watchEvents counts
}

// readMetrics reads what the API server counted from its metrics in Prometheus' text format.
func readMetrics(text []byte) (*served, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("parse the API server's metrics: %w", err)
	}
	s := &served{requests: counts{}, own: counts{}, refused: counts{}, watchEvents: counts{}}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		l, n := labels(metric), int(metric.GetCounter().GetValue())
		kind := kindOf(l["verb"], l["resource"], l["subresource"])
		s.requests[kind] += n
		if code := l["code"]; code >= "400" {
			s.refused[kind+" "+code] += n
		}
	}
	for _, metric := range families["apiserver_longrunning_requests"].GetMetric() {
		if l := labels(metric); l["verb"] == "WATCH" {
			s.requests[kindOf(l["verb"], l["resource"], l["subresource"])] += int(metric.GetGauge().GetValue())
		}
	}
	for _, metric := range families["apiserver_selfrequest_total"].GetMetric() {
		l := labels(metric)
		s.own[kindOf(l["verb"], l["resource"], l["subresource"])] += int(metric.GetCounter().GetValue())
	}
	for _, metric := range families["apiserver_watch_events_total"].GetMetric() {
		s.watchEvents[labels(metric)["resource"]] += int(metric.GetCounter().GetValue())
	}
	if len(s.requests) == 0 || len(s.own) == 0 {
		return nil, fmt.Errorf("the API server's metrics have no requests")
	}
	return s, nil
}

func labels(metric *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range metric.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}

// sender counts the requests that the clients of some configurations send. It is safe for concurrent use.
type sender struct {
	mu   sync.Mutex
	sent counts
}

// config is a copy of config whose clients' requests are counted and not limited in number, as in a pod, where only
// the server's own fairness limits a client.
func (s *sender) config(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	out.QPS = -1
	out.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			s.count(req)
			return next.RoundTrip(req)
		})
	})
	return out
}

func (s *sender) count(req *http.Request) {
	kind := kindOfRequest(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil {
		s.sent = counts{}
	}
	s.sent[kind]++
}

func (s *sender) counts() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil {
		return counts{}
	}
	return maps.Clone(s.sent)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

var requestInfos = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

// metricVerbs are the verbs of the API server's metrics by those of its authorization.
var metricVerbs = map[string]string{
	"create": "POST", "update": "PUT", "patch": "PATCH", "get": "GET", "list": "LIST", "watch": "WATCH",
	"delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}

// kindOfRequest is the kind under which the API server counts a request.
func kindOfRequest(req *http.Request) string {
	info, err := requestInfos.NewRequestInfo(req)
	if err != nil || !info.IsResourceRequest {
		return kindOf(req.Method, "", "")
	}
	verb := metricVerbs[info.Verb]
	if verb == "PATCH" && req.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) {
		verb = "APPLY"
	}
	return kindOf(verb, info.Resource, info.Subresource)
}

func TestRequestsAreCountedAsTheServerCountsThem(t *testing.T) {
	const (
		group = "/apis/build.openllb.dev/v1alpha1/namespaces/ns/"
		merge = types.MergePatchType
		apply = types.ApplyYAMLPatchType
	)
	cases := map[string]struct {
		method, path string
		contentType  types.PatchType
		want         string
	}{
		"a creation":              {"POST", group + "hlbbuilds", "", "POST hlbbuilds"},
		"a list":                  {"GET", group + "hlbbuilds?limit=500", "", "LIST hlbbuilds"},
		"a watch":                 {"GET", group + "hlbbuilds?watch=true", "", "WATCH hlbbuilds"},
		"an object":               {"GET", group + "hlbbuilds/b", "", "GET hlbbuilds"},
		"a patch of a status":     {"PATCH", group + "hlbbuilds/b/status", merge, "PATCH hlbbuilds/status"},
		"a server-side apply":     {"PATCH", "/api/v1/namespaces/ns/configmaps/c", apply, "APPLY configmaps"},
		"an update of a Lease":    {"PUT", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l", "", "PUT leases"},
		"a namespace":             {"GET", "/api/v1/namespaces/ns", "", "GET namespaces"},
		"discovery of a group":    {"GET", "/apis/build.openllb.dev/v1alpha1", "", "GET (no resource)"},
		"the metrics":             {"GET", "/metrics", "", "GET (no resource)"},
		"deletion of all of them": {"DELETE", group + "hlbbuilds", "", "DELETECOLLECTION hlbbuilds"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, "https://server"+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", string(tc.contentType))
			if got := kindOfRequest(req); got != tc.want {
				t.Errorf("counted as %q, want %q", got, tc.want)
			}
		})
	}
}

// metricsText is a part of an API server's metrics.
const metricsText = `# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="hlbbuilds",subresource="status",verb="PATCH"} 7
apiserver_request_total{code="409",resource="hlbbuilds",subresource="status",verb="PATCH"} 2
apiserver_request_total{code="200",resource="configmaps",subresource="",verb="APPLY"} 3
apiserver_request_total{code="200",resource="pods",subresource="",verb="WATCH"} 1
apiserver_request_total{code="200",resource="leases",subresource="",verb="PUT"} 4
apiserver_request_total{code="200",resource="",subresource="/metrics",verb="GET"} 1
# TYPE apiserver_longrunning_requests gauge
apiserver_longrunning_requests{resource="pods",subresource="",verb="WATCH"} 2
apiserver_longrunning_requests{resource="pods",subresource="log",verb="GET"} 5
# TYPE apiserver_selfrequest_total counter
apiserver_selfrequest_total{resource="leases",subresource="",verb="PUT"} 1
# TYPE apiserver_watch_events_total counter
apiserver_watch_events_total{resource="pods"} 9
`

func TestMetricsAreReadByKind(t *testing.T) {
	got, err := readMetrics([]byte(metricsText))
	if err != nil {
		t.Fatal(err)
	}
	want := &served{
		requests: counts{
			"PATCH hlbbuilds/status": 9, "APPLY configmaps": 3, "WATCH pods": 3, "PUT leases": 4,
			"GET (no resource)": 1,
		},
		own:         counts{"PUT leases": 1},
		refused:     counts{"PATCH hlbbuilds/status 409": 2},
		watchEvents: counts{"pods": 9},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(served{})); diff != "" {
		t.Error(diff)
	}
	if _, err := readMetrics(nil); err == nil {
		t.Error("no metrics at all pass for metrics without requests")
	}
}

func TestKindsOfWritesAreToldApart(t *testing.T) {
	c := counts{
		"PATCH hlbbuilds/status": 1, "PATCH builddaemons/status": 2, "POST hlbbuilds": 4, "APPLY configmaps": 8,
		"PUT leases": 16, "POST events": 32, "PATCH events": 64, "PATCH statefulsets": 128, "GET pods": 256,
		"APPLY leases": 512,
	}
	cases := map[string]struct {
		matches func(verb, resource, subresource string) bool
		want    int
	}{
		"statuses of builds":                                 {statusWrites("hlbbuilds"), 1},
		"statuses of daemons":                                {statusWrites("builddaemons"), 2},
		"events, repeated ones too":                          {eventWrites, 32 + 64},
		"desired objects, and not what Leases are kept with": {applies, 8 + 128 + 512},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.sum(tc.matches); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
	if diff := cmp.Diff(counts{"GET pods": 255}, counts{"GET pods": 256, "PUT leases": 3}.minus(
		counts{"GET pods": 1}, counts{"PUT leases": 4, "LIST pods": 1})); diff != "" {
		t.Error(diff)
	}
}
