// SPDX-License-Identifier: Apache-2.0

// Command step is what the builds of the fault matrix run: it takes some seconds, and tells a witness outside of the
// cluster each second that it lives, and at its end that it is done. It does not end before the witness knows.
package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: step WITNESS BUILD SECONDS")
		os.Exit(2)
	}
	seconds, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "step:", err)
		os.Exit(2)
	}
	witness := &http.Client{Timeout: 2 * time.Second}
	query := url.Values{"b": {os.Args[2]}, "e": {rand.Text()}}.Encode()
	tell := func(what string) bool {
		answer, err := witness.Get("http://" + os.Args[1] + "/" + what + "?" + query)
		if err != nil {
			return false
		}
		return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}
	for range seconds {
		tell("alive") // the next one counts as well
		time.Sleep(time.Second)
	}
	for !tell("done") {
		time.Sleep(time.Second)
	}
}
