package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/config"
)

const (
	healthTimeout = 3 * time.Second        // of one question
	healthEvery   = 500 * time.Millisecond // between two of --wait
	healthAnswer  = 4 << 10                // bytes of an answer that are read
)

func newHealth(streams IO) *cobra.Command {
	var (
		addr string
		wait time.Duration
		say  string
	)
	cmd := &cobra.Command{
		Use: "health", Short: "Ask a process whether it can do its work",
		Long: `Asks a process at its admin port whether it can do its work, and ends with exit code 0 if
so, else with 1 and the reason. It needs no token. Made for health checks of containers:
where --admin is set for the process by the environment, it is found there.`,
		Example: `  godwit health
  godwit health --admin 10.0.0.7:8081 --wait 1m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return usagef("--wait is %q: give a duration such as 1m, or 0", wait)
			}
			answer, err := askUntilReady(cmd.Context(), reachable(addr), wait)
			if err != nil {
				return err
			}
			if say == "" {
				say = answer
			}
			_, err = fmt.Fprintln(streams.Out, strings.TrimSpace(say))
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Server(&addr, defaultAdmin, 8081), "admin", "admin address of the process")
	f.DurationVar(&wait, "wait", 0, "how long to ask again until it is ready; 0: ask once")
	f.StringVar(&say, "say", "", "`TEXT` to print once it is ready, instead of its answer")
	return cmd
}

// reachable is where what listens at addr can be reached on this machine.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// askUntilReady gives the answer of a process that is ready, or why it is not. It asks
// once, and again as long as wait says.
func askUntilReady(ctx context.Context, addr string, wait time.Duration) (string, error) {
	for deadline := time.Now().Add(wait); ; {
		answer, err := askReady(ctx, addr)
		if err == nil || ctx.Err() != nil || !time.Now().Add(healthEvery).Before(deadline) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(healthEvery):
		}
	}
}

func askReady(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("%s does not answer: %w", addr, errors.Unwrap(err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, healthAnswer))
	if err != nil {
		return "", fmt.Errorf("%s: %w", addr, err)
	}
	answer := strings.TrimSpace(string(text))
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s is not ready: %s", addr, answer)
	}
	return answer, nil
}
