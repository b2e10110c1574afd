// SPDX-License-Identifier: Apache-2.0

// Command stepnet gives build steps networks of their own. In a daemon's pod it runs first, with CAP_NET_ADMIN:
//
//	stepnet install -dir DIR [-egress JSON] [-required]
//
// which loads firewall rules and puts this program into DIR as a CNI plugin. As a plugin it is called by buildkitd,
// without arguments and as CNI has it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/openllb/hlb-operator/agent/stepnet"
)

func main() {
	if len(os.Args) < 2 {
		stepnet.ServePlugin()
		return
	}
	if err := install(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stepnet:", err)
		os.Exit(1)
	}
}

func install(args []string) error {
	flags := flag.NewFlagSet("stepnet install", flag.ExitOnError)
	i := &stepnet.Installation{Program: "/proc/self/exe"}
	flags.StringVar(&i.Dir, "dir", "", "the folder to fill")
	flags.StringVar(&i.ResolvConf, "resolv-conf", "/etc/resolv.conf", "where the pod's name servers stand")
	flags.BoolVar(&i.Required, "required", false, "fail where steps can have no networks of their own")
	egress := flags.String("egress", "", "what steps may reach, as JSON; empty for everything but what is refused")
	if args[0] != "install" {
		return fmt.Errorf("use it as: stepnet install -dir DIR [flags], not with %q", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if i.Dir == "" || flags.NArg() > 0 {
		return fmt.Errorf("use it as: stepnet install -dir DIR [flags]")
	}
	rules, err := stepnet.ParseEgress(*egress)
	if err != nil {
		return err
	}
	i.Policy.Egress = rules
	return i.Install()
}
