package observe

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A store is asked at once and again and again; while it can't be asked, what it said last stands.
func TestStoresAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		asked := 0
		s, err := NewStores(r, slog.New(slog.DiscardHandler),
			Store{Name: "files", Room: func(context.Context) (all, free int64, err error) {
				switch asked++; asked {
				case 1:
					return 100, 40, nil
				case 2:
					return 0, 0, errors.New("no leader")
				}
				return 100, 7, nil
			}},
			Store{Name: "hangs", Room: func(ctx context.Context) (all, free int64, err error) {
				<-ctx.Done()
				return 0, 0, ctx.Err()
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		check := func(want float64) {
			t.Helper()
			synctest.Wait()
			if got := gathered(t, r)["godwit_store_left_bytes"]; got != want {
				t.Errorf("%v bytes are left, want %v", got, want)
			}
		}
		check(40)
		time.Sleep(askEvery)
		check(40)
		time.Sleep(askEvery)
		check(7)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
