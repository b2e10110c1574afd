// SPDX-License-Identifier: Apache-2.0

package envtestkit_test

import (
	"os"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

func TestServerKnowsTheKinds(t *testing.T) {
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	daemon := testbuild.BuildDaemon(ns, "c", 0)
	if err := cluster.Client.Create(t.Context(), daemon); err != nil {
		t.Fatal(err)
	}
	if got := envtestkit.Kstatus(t, daemon); got != status.InProgressStatus {
		t.Errorf("an unseen object's kstatus is %s", got)
	}
	testbuild.Serving(daemon)
	if err := cluster.Client.Status().Update(t.Context(), daemon); err != nil {
		t.Fatal(err)
	}
	found := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: daemon.Name}}
	cluster.WaitCondition(t, found, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)
	if got := envtestkit.Kstatus(t, found); got != status.CurrentStatus {
		t.Errorf("a serving daemon's kstatus is %s", got)
	}
}

func TestSomebodyElseHasNoRights(t *testing.T) {
	cluster := envtestkit.Get(t)
	nobody := cluster.As(t, "system:serviceaccount:default:nobody")
	if err := nobody.List(t.Context(), &v1alpha1.HLBBuildList{}); !apierrors.IsForbidden(err) {
		t.Errorf("a service account without a role may list builds: %v", err)
	}
}

func TestTwoNamespacesOfOneTestDiffer(t *testing.T) {
	cluster := envtestkit.Get(t)
	if a, b := cluster.Namespace(t), cluster.Namespace(t); a == b {
		t.Errorf("both are %s", a)
	}
}
