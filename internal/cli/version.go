package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"godwit/internal/up"
)

func newVersion(streams IO) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(streams.Out, "godwit %s %s %s/%s\n", up.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
