// SPDX-License-Identifier: Apache-2.0

package builddaemon

import (
	"os"
	"testing"

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }
