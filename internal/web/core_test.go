package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestClientCore runs the tests of the client's core, which are in coretest, in a browser: those of its pure parts, of the
// connection against a socket of the test's, and of all together against a server that loses what it can.
func TestClientCore(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/client/", Client())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><title>core</title><script type="module" src="/coretest/run.js"></script>`)
	})
	inBrowser(t, mux, "/?only="+os.Getenv("GODWIT_CORETEST"))
}

// inBrowser opens a page of mux, which gets what both kinds of tests use, and tells the results of its tests as subtests.
func inBrowser(t *testing.T, mux *http.ServeMux, page string) {
	t.Helper()
	mux.Handle("/coretest/", http.StripPrefix("/coretest/", http.FileServer(http.Dir("coretest"))))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(chromium(t), 4*time.Minute)
	defer cancel()
	var results []struct{ Name, Error string }
	err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+page))
	for err == nil && results == nil {
		time.Sleep(20 * time.Millisecond)
		results, err = chromedp.Run(ctx, chromedp.Evaluate[[]struct{ Name, Error string }](`globalThis.results ?? null`))
	}
	if err != nil {
		t.Fatal("the tests did not come to an end: ", err)
	}
	if len(results) == 0 {
		t.Fatal("no test ran")
	}
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			if r.Error != "" {
				t.Error(r.Error)
			}
		})
	}
}

// chromium is a tab of a headless Chromium. The test is skipped where there is none, but not in CI.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("needs Debian's chromium: ", err)
		}
		t.Fatal("no browser: ", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which root cannot have
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("no browser: ", err)
	}
	return ctx
}
