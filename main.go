// Command godwit is a messaging server for TeamTalk clients, with everything that is
// needed to run, try and measure it.
package main

import (
	"os"

	"godwit/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
