// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// program is a Go web server that checks itself and ends. net/http makes its first compilation worth caching.
const program = `# A Go program, compiled with Go's build cache in a cache mount and put into an image of its own.
fs default() {
	scratch
	copy binary "/hello" "/hello"
	entrypoint "/hello"
}

fs _build() {
	image "%s"
	run "go build -o /out/hello ." with option {
		dir "/src"
		env "CGO_ENABLED" "0"
		mount source "/src"
		cacheMount "/root/.cache/go-build"
		mount scratch "/out" as binary
	}
}

fs source() {
	mkfile "/go.mod" 0o644 "module example.com/hello\n\ngo 1.26\n"
	mkfile "/main.go" 0o644 <<-` + "`GO`" + `
		package main

		import (
			"fmt"
			"io"
			"net/http"
			"net/http/httptest"
		)

		func main() {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, "%s")
			}))
			defer server.Close()
			answer, err := http.Get(server.URL)
			if err != nil {
				panic(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				panic(err)
			}
			fmt.Println(string(text))
		}
	GO
}
`

// source is the program, compiled in image golang and printing greeting.
func source(golang, greeting string) string { return fmt.Sprintf(program, golang, greeting) }
